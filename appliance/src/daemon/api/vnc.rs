//! The screen, keyboard and mouse of a guest: a browser's WebSocket tied to QEMU's own VNC, over a
//! descriptor that only the daemon has. Nothing listens anywhere.

use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::Response;
use lifeboat_access::Identity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{ApiError, Failure};
use crate::daemon::{Appliance, NotNow};

/// What a browser sends at once: keys, movements, a pasted text.
const MOST: usize = 1 << 20;
const PIECE: usize = 64 << 10;
/// How long a browser may take to accept a piece.
const PATIENCE: Duration = Duration::from_secs(60);

/// A WebSocket (subprotocol `binary`) that speaks RFB with the guest's screen.
#[utoipa::path(get, path = "/sessions/{id}/machines/{machine}/vnc", operation_id = "vnc", tag = "sessions",
    params(("id" = String, Path), ("machine" = String, Path)), responses(
    (status = 101, description = "RFB over binary messages"), (status = 404, body = ApiError),
    (status = 409, description = "the machine does not run, or has no console", body = ApiError)))]
pub(super) async fn vnc(
    State(appliance): State<Appliance>,
    Extension(identity): Extension<Identity>,
    Path((id, machine)): Path<(String, String)>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let domain = appliance.domain_of(&id, &machine).await?;
    let display = appliance.hypervisor.open_display(&domain).await;
    let display = display.map_err(|error| {
        anyhow::Error::new(error).context(NotNow(format!(
            "the console of machine `{machine}` cannot be opened now"
        )))
    })?;
    display.set_nonblocking(true)?;
    let display = UnixStream::from_std(display)?;
    let what = format!("{id} {machine}");
    appliance.store.audit("session console", &what).await?;
    let ending = appliance.ending();
    Ok(upgrade
        .protocols(["binary"])
        .max_message_size(MOST)
        .on_upgrade(move |browser| async move {
            tokio::select! {
                () = tie(browser, display) => {}
                () = identity.lapsed() => {}
                () = ending => {}
            }
        }))
}

/// Until either end is gone.
async fn tie(mut browser: WebSocket, mut display: UnixStream) {
    let mut piece = vec![0; PIECE];
    loop {
        tokio::select! {
            read = display.read(&mut piece) => {
                let Ok(count @ 1..) = read else { break };
                let bytes = Message::Binary(piece[..count].to_vec().into());
                let sent = tokio::time::timeout(PATIENCE, browser.send(bytes));
                if !matches!(sent.await, Ok(Ok(()))) {
                    return;
                }
            }
            heard = browser.recv() => match heard {
                Some(Ok(Message::Binary(bytes))) => {
                    if display.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // Text is not RFB.
                Some(Ok(Message::Text(_) | Message::Close(_)) | Err(_)) | None => return,
            }
        }
    }
    // The guest's end is gone; a browser that is gone, too, need not hear it.
    let _ = browser.send(Message::Close(None)).await;
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use futures_util::SinkExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_stream::StreamExt;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;

    /// A browser's end and the guest's end of one console.
    async fn tied() -> (WebSocketStream<TcpStream>, UnixStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, guest) = UnixStream::pair().unwrap();
        let ours = std::sync::Arc::new(std::sync::Mutex::new(Some(ours)));
        let route = get(move |upgrade: WebSocketUpgrade| {
            let ours = ours.lock().unwrap().take().unwrap();
            async move { upgrade.on_upgrade(move |browser| tie(browser, ours)) }
        });
        let serve = axum::serve(listener, Router::new().route("/", route));
        tokio::spawn(async move { serve.await });
        let stream = TcpStream::connect(address).await.unwrap();
        let opened = tokio_tungstenite::client_async("ws://localhost/", stream).await;
        (opened.unwrap().0, guest)
    }

    #[tokio::test]
    async fn what_either_end_says_the_other_hears() {
        let (mut browser, mut guest) = tied().await;
        guest.write_all(b"RFB 003.008\n").await.unwrap();
        let heard = browser.next().await.unwrap().unwrap();
        assert_eq!(&heard.into_data()[..], b"RFB 003.008\n");
        let key = vec![4, 1, 0, 0, 0, 0, 0, 97];
        browser.send(Message::Binary(key.into())).await.unwrap();
        let mut pressed = [0; 8];
        guest.read_exact(&mut pressed).await.unwrap();
        assert_eq!(pressed[7], 97);
        drop(guest);
        let closed = browser.next().await.unwrap().unwrap();
        assert!(closed.is_close(), "{closed}");
    }

    #[tokio::test]
    async fn text_never_reaches_the_guest() {
        let (mut browser, mut guest) = tied().await;
        browser
            .send(Message::Text("RFB 003.008".into()))
            .await
            .unwrap();
        let mut heard = Vec::new();
        guest.read_to_end(&mut heard).await.unwrap();
        assert!(heard.is_empty(), "{heard:?}");
    }
}
