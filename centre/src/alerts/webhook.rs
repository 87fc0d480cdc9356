//! A note as a POST with JSON.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Serialize;

use super::delivery::{Failure, chain};
use super::mail::secret;
use super::outbox::{Note, NoteKind};
use super::{Gravity, moment, route};

const LIMIT: Duration = Duration::from_secs(20);

/// What is posted.
#[derive(Debug, Serialize)]
struct Posted<'a> {
    /// The same note has the same id, however often it is posted.
    id: String,
    alert: i64,
    kind: NoteKind,
    gravity: Gravity,
    application: Option<&'a str>,
    subject: &'a str,
    title: &'a str,
    text: &'a str,
    since: String,
    at: String,
}

/// Posts a note; it was taken when the answer is one of success.
pub(super) async fn send(route: &route::Webhook, note: &Note) -> Result<(), Failure> {
    let id = format!("{}.{}.{}", note.alert, note.raised, note.id);
    let posted = Posted {
        id: id.clone(),
        alert: note.alert,
        kind: note.kind,
        gravity: note.gravity,
        application: note.application.as_deref(),
        subject: &note.key,
        title: &note.title,
        text: &note.text,
        since: moment(note.since),
        at: moment(note.at),
    };
    let body = serde_json::to_vec(&posted).map_err(|error| Failure::Note(error.to_string()))?;
    let client = client(route).await.map_err(Failure::Route)?;
    let mut request = client
        .post(&route.url)
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", id)
        .body(body);
    if let Some(file) = &route.secret_file {
        request = request.bearer_auth(secret(file).await.map_err(Failure::Route)?);
    }
    let answer = request.send().await;
    let answer = answer.map_err(|error| Failure::Route(chain(&error)))?;
    let status = answer.status();
    match status.as_u16() {
        200..300 => Ok(()),
        // It is there and finds fault with this one.
        400 | 413 | 415 | 422 => Err(Failure::Note(format!("{} answers {status}", route.url))),
        _ => Err(Failure::Route(format!("{} answers {status}", route.url))),
    }
}

async fn client(route: &route::Webhook) -> Result<Client, String> {
    Client::builder()
        .timeout(LIMIT)
        // What is told here is told to nobody else.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .tls_backend_preconfigured(trusting(route).await?)
        .build()
        .map_err(|error| chain(&error))
}

async fn trusting(route: &route::Webhook) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let Some(trust) = &route.trust else {
        let config = config.with_platform_verifier();
        let config = config.map_err(|error| error.to_string())?;
        return Ok(config.with_no_client_auth());
    };
    let pem = tokio::fs::read(trust).await;
    let pem = pem.map_err(|error| format!("{}: {error}", trust.display()))?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem);
    let (added, _) = roots.add_parsable_certificates(certificates.flatten());
    match added {
        0 => Err(format!("{} holds no certificate", trust.display())),
        _ => Ok(config.with_root_certificates(roots).with_no_client_auth()),
    }
}
