import "@patternfly/react-core/dist/styles/base.css";
import "./console.css";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router-dom";

import { Refusal } from "./api/ask";
import { App } from "./app/App";
import { ME } from "./app/Me";
import { start } from "./app/theme";

start();

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // What the appliance refuses, it refuses again; what did not reach it is tried until it does.
      retry: (count, error) => !(error instanceof Refusal) && count < 2,
      refetchInterval: 30_000,
      refetchOnWindowFocus: true,
      networkMode: "always",
    },
    mutations: { networkMode: "always" },
  },
});

// Whoever asks first after a log-in has ended finds out; then the log-in page is shown.
client.getQueryCache().subscribe((event) => {
  const error = event.type === "updated" && event.action.type === "error" ? event.action.error : null;
  const isMe = event.query.queryKey[0] === ME[0] && event.query.queryKey[1] === ME[1];
  if (error instanceof Refusal && error.loggedOut && !isMe) void client.invalidateQueries({ queryKey: ME });
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <BrowserRouter>
          <App />
        </BrowserRouter>
      </QueryClientProvider>
    </StrictMode>,
  );
}
