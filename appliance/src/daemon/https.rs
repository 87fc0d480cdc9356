//! The API over HTTPS: a certificate of its own, and a token for those who may.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinHandle;

use super::{Appliance, api};

/// File of the token, readable by root alone.
const TOKEN_FILE: &str = "api-token";

/// Starts serving on `listen`, when wanted.
pub async fn start(
    appliance: &Appliance,
    centre: Option<&lifeboat_centre::Centre>,
    listen: Option<SocketAddr>,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(address) = listen else {
        return Ok(None);
    };
    // Another provider may be installed already; either serves.
    drop(rustls::crypto::ring::default_provider().install_default());
    let state_dir = &appliance.host.state_dir;
    let (certificate, key) = certificate(state_dir)?;
    let config = axum_server::tls_rustls::RustlsConfig::from_pem(certificate, key)
        .await
        .context("failed to load the API's certificate")?;
    let token = token(state_dir)?;
    let router = api::router(appliance.clone(), centre, api::Reach::Network)
        .layer(middleware::from_fn_with_state(token, require_token));
    let listener = std::net::TcpListener::bind(address)
        .with_context(|| format!("failed to listen on {address}"))?;
    listener.set_nonblocking(true)?;
    let server = axum_server::from_tcp_rustls(listener, config)?;
    tracing::info!(%address, token_file = %state_dir.join(TOKEN_FILE).display(), "HTTPS");
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = server.serve(router.into_make_service()).await {
            tracing::error!(%error, "HTTPS ended");
        }
    })))
}

async fn require_token(State(token): State<String>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    // Hashes are compared in constant time, so the answer's delay tells nothing.
    let allowed =
        given.is_some_and(|given| blake3::hash(given.as_bytes()) == blake3::hash(token.as_bytes()));
    if allowed {
        return next.run(request).await;
    }
    (
        StatusCode::UNAUTHORIZED,
        "a valid token is needed: `Authorization: Bearer ...`\n",
    )
        .into_response()
}

fn token(state_dir: &Path) -> anyhow::Result<String> {
    let fresh = || {
        format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        )
    };
    let bytes = secret_file(&state_dir.join(TOKEN_FILE), || Ok(fresh().into_bytes()))?;
    Ok(String::from_utf8(bytes)
        .context("the API token is not text")?
        .trim()
        .to_owned())
}

fn certificate(state_dir: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let made = || -> anyhow::Result<Vec<u8>> {
        let names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        let made = rcgen::generate_simple_self_signed(names)?;
        Ok(format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()).into_bytes())
    };
    // One file holds both, so that a crash never leaves a pair that does not match.
    let both = secret_file(&state_dir.join("api-tls.pem"), made)?;
    Ok((both.clone(), both))
}

/// The content of a file that only its owner may read, made at first use.
fn secret_file(
    path: &Path,
    make: impl FnOnce() -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<Vec<u8>> {
    if let Ok(content) = std::fs::read(path) {
        return Ok(content);
    }
    let content = make()?;
    let temporary = path.with_extension("part");
    drop(std::fs::remove_file(&temporary));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(|| format!("failed to create `{}`", temporary.display()))?;
    file.write_all(&content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(content)
}
