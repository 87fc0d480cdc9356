/** What of noVNC is used here; the package brings no types. */
declare module "@novnc/novnc" {
  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, url: string, options?: { shared?: boolean; wsProtocols?: string[] });
    scaleViewport: boolean;
    disconnect(): void;
    sendCtrlAltDel(): void;
  }
}
