//! A note by mail.

use std::path::Path;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::delivery::{Failure, chain};
use super::outbox::Note;
use super::route;

/// How long a mail server may take for everything.
const LIMIT: Duration = Duration::from_secs(30);

/// A mail address, with or without a name before it.
pub(super) fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse()
        .map_err(|error| format!("`{text}` is no mail address: {error}"))
}

/// Hands a note to the mail server; it has taken it when this returns.
pub(super) async fn send(route: &route::Mail, note: &Note) -> Result<(), Failure> {
    let message = message(route, note).map_err(Failure::Note)?;
    let transport = transport(route).await.map_err(Failure::Route)?;
    let sent = tokio::time::timeout(LIMIT, transport.send(message)).await;
    match sent {
        Ok(Ok(_)) => Ok(()),
        // The server is there and will not have this one; others may pass.
        Ok(Err(error)) if error.is_permanent() => Err(Failure::Note(chain(&error))),
        Ok(Err(error)) => Err(Failure::Route(chain(&error))),
        Err(_) => Err(Failure::Route(format!(
            "{} did not take the mail within {} s",
            route.server,
            LIMIT.as_secs()
        ))),
    }
}

/// The same note has the same id, however often it is sent: a mail that was taken just before the
/// control centre died is known again.
fn id(alert: i64, raised: u64, note: i64, domain: &str) -> String {
    format!("<lifeboat.{alert}.{raised}.{note}@{domain}>")
}

fn message(route: &route::Mail, note: &Note) -> Result<Message, String> {
    let from = mailbox(&route.from)?;
    let domain = from.email.domain().to_owned();
    let name = |number| id(note.alert, note.raised, number, &domain);
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let mut builder = Message::builder()
        .from(from)
        .subject(format!("[lifeboat] {}: {}", note.heading(), note.title))
        .message_id(Some(name(note.id)))
        .header(ContentType::TEXT_PLAIN)
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()));
    for to in &route.to {
        builder = builder.to(mailbox(to)?);
    }
    if note.first != note.id {
        builder = builder
            .in_reply_to(name(note.first))
            .references(name(note.first));
    }
    builder
        .body(note.body())
        .map_err(|error| format!("the mail cannot be written: {error}"))
}

async fn transport(route: &route::Mail) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let tls = match route.tls {
        route::Tls::None => Tls::None,
        route::Tls::Starttls => Tls::Required(trusting(route).await?),
        route::Tls::Wrapped => Tls::Wrapper(trusting(route).await?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&route.server)
        .port(route.port)
        .tls(tls)
        .timeout(Some(LIMIT));
    if let (Some(user), Some(file)) = (&route.user, &route.password_file) {
        let password = secret(file).await?;
        builder = builder.credentials(Credentials::new(user.clone(), password));
    }
    Ok(builder.build())
}

async fn trusting(route: &route::Mail) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(route.server.clone());
    if let Some(trust) = &route.trust {
        let pem = tokio::fs::read(trust).await;
        let pem = pem.map_err(|error| format!("{}: {error}", trust.display()))?;
        let wrong = |error| format!("{} holds no certificate: {error}", trust.display());
        let certificate = Certificate::from_pem(&pem).map_err(wrong)?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| chain(&error))
}

/// A secret from its file, without the line end.
pub(super) async fn secret(file: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
