//! Joining and refusals over real TLS on loopback.

mod centre;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use centre::{DAY, Host, Manner, open};
use lifeboat_agent::ca::Ca;
use lifeboat_agent::tls::{
    Identity, Receiver, Sender, centre_server_name, dials, first_contact, split,
};
use lifeboat_agent::wire::*;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const LIMIT: Duration = Duration::from_secs(10);

type Ends = (Sender<TlsStream<TcpStream>>, Receiver<TlsStream<TcpStream>>);

async fn dial(
    address: std::net::SocketAddr,
    config: Arc<rustls::ClientConfig>,
) -> std::io::Result<Ends> {
    let stream = TcpStream::connect(address).await?;
    let name = centre_server_name().expect("a name");
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map(split)
}

fn hello(boot: &str, protocol: u32) -> FromAgent {
    FromAgent::Hello(Box::new(Hello {
        protocol,
        version: "0".to_owned(),
        boot: boot.to_owned(),
        incarnation: 1,
        profile: None,
        peer_port: None,
        lease: None,
    }))
}

fn identity(host: &Host) -> Identity {
    let text = std::fs::read(host.state().join("identity.json")).expect("joined");
    serde_json::from_slice(&text).expect("an identity")
}

async fn answer(
    address: std::net::SocketAddr,
    identity: &Identity,
    word: FromAgent,
) -> Result<ToAgent, String> {
    let config = dials(identity).expect("a configuration");
    let (mut sender, mut receiver) = dial(address, config)
        .await
        .map_err(|error| error.to_string())?;
    sender
        .send(&word, LIMIT)
        .await
        .map_err(|error| format!("{error:?}"))?;
    receiver
        .receive(LIMIT)
        .await
        .map_err(|error| format!("{error:?}"))
}

fn complaint(output: &std::process::Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_token_counts_once_and_for_ten_minutes_and_for_its_own_centre() {
    let small = open(Manner::default()).await;
    let (first, second) = (Host::new(), Host::new());
    let joined = first.join(small.address, &small.token).await;
    assert_eq!(
        String::from_utf8_lossy(&joined.stdout),
        "joined as mail-a\n"
    );
    let replayed = complaint(&second.join(small.address, &small.token).await);
    assert!(replayed.contains("used already"), "{replayed}");

    let random = || std::array::from_fn(|_| fastrand::u8(..));
    let mut old = small.token.clone();
    old.secret = Secret::new(random());
    small
        .book
        .expect(&old, "mail-b", SystemTime::now() - Duration::from_secs(1));
    let expired = complaint(&second.join(small.address, &old).await);
    assert!(expired.contains("expired"), "{expired}");
    let mut forged = small.token.clone();
    forged.secret = Secret::new(random());
    let unknown = complaint(&second.join(small.address, &forged).await);
    assert!(unknown.contains("not known"), "{unknown}");

    let elsewhere = open(Manner::default()).await;
    let foreign = complaint(&second.join(elsewhere.address, &small.token).await);
    assert!(foreign.contains("not the control centre"), "{foreign}");
    assert!(!second.state().join("identity.json").exists());

    // The control: a good token of the same centre is good for the second host.
    let mut good = small.token.clone();
    good.secret = Secret::new(random());
    small.book.expect(
        &good,
        "mail-b",
        SystemTime::now() + Duration::from_secs(600),
    );
    let joined = second.join(small.address, &good).await;
    assert_eq!(
        String::from_utf8_lossy(&joined.stdout),
        "joined as mail-b\n"
    );
}

#[tokio::test]
async fn who_joins_later_takes_the_name_over() {
    let small = open(Manner::default()).await;
    let (first, second) = (Host::new(), Host::new());
    assert!(
        first
            .join(small.address, &small.token)
            .await
            .status
            .success()
    );
    let word = answer(small.address, &identity(&first), hello("one", PROTOCOL)).await;
    assert!(matches!(word, Ok(ToAgent::Welcome(_))), "{word:?}");
    let mut token = small.token.clone();
    token.secret = Secret::new([7; 16]);
    small.book.expect(
        &token,
        "mail-a",
        SystemTime::now() + Duration::from_secs(600),
    );
    assert!(second.join(small.address, &token).await.status.success());
    let word = answer(small.address, &identity(&first), hello("one", PROTOCOL)).await;
    assert!(
        matches!(word, Ok(ToAgent::Refused(Refusal::Replaced { .. }))),
        "{word:?}"
    );
    let word = answer(small.address, &identity(&second), hello("two", PROTOCOL)).await;
    assert!(matches!(word, Ok(ToAgent::Welcome(_))), "{word:?}");
}

#[tokio::test]
async fn stale_and_foreign_certificates_other_protocols_and_wrong_first_words_are_refused() {
    let stored = Arc::new(Ca::make(SystemTime::now()).expect("a CA"));
    let small = open(Manner {
        ca: Some(stored.clone()),
        ..Manner::default()
    })
    .await;
    let host = Host::new();
    assert!(
        host.join(small.address, &small.token)
            .await
            .status
            .success()
    );
    let good = identity(&host);

    let word = answer(small.address, &good, hello("one", PROTOCOL + 1)).await;
    assert!(
        matches!(word, Ok(ToAgent::Refused(Refusal::Protocol { .. }))),
        "{word:?}"
    );
    let word = answer(small.address, &good, FromAgent::Ping(1)).await;
    assert!(
        matches!(word, Ok(ToAgent::Refused(Refusal::Senseless { .. }))),
        "{word:?}"
    );

    let request = {
        let key = rcgen::KeyPair::from_pem(&good.key).expect("a key");
        let request = rcgen::CertificateParams::default().serialize_request(&key);
        request
            .and_then(|request| request.pem())
            .expect("a request")
    };
    let certify = |stored: &lifeboat_agent::ca::Stored, at: SystemTime| {
        let certified = Ca::load(stored, DAY).and_then(|ca| ca.certify("mail-a", &request, at));
        Identity {
            certified: certified.expect("certified"),
            key: good.key.clone(),
        }
    };
    let stale = certify(&stored, SystemTime::now() - DAY * 2);
    let refused = answer(small.address, &stale, hello("one", PROTOCOL)).await;
    assert!(
        refused
            .as_ref()
            .is_err_and(|error| error.contains("CertificateExpired")),
        "{refused:?}"
    );
    let mut foreign = certify(
        &Ca::make(SystemTime::now()).expect("another CA"),
        SystemTime::now(),
    );
    foreign.certified.ca = good.certified.ca.clone();
    let refused = answer(small.address, &foreign, hello("one", PROTOCOL)).await;
    assert!(refused.is_err(), "{refused:?}");
    let fresh = certify(&stored, SystemTime::now());
    let word = answer(small.address, &fresh, hello("one", PROTOCOL)).await;
    assert!(matches!(word, Ok(ToAgent::Welcome(_))), "{word:?}");
}

#[tokio::test]
async fn without_a_certificate_nothing_but_joining_is_heard() {
    let small = open(Manner::default()).await;
    let config = first_contact(small.token.ca).expect("a configuration");
    let (mut sender, mut receiver) = dial(small.address, config).await.expect("TLS");
    sender
        .send(&hello("one", PROTOCOL), LIMIT)
        .await
        .expect("sent");
    let word = receiver.receive(LIMIT).await;
    assert!(
        matches!(word, Ok(ToAgent::Refused(Refusal::Senseless { .. }))),
        "{word:?}"
    );
}

#[tokio::test]
async fn certificates_renew_themselves_and_a_lost_link_comes_back() {
    let stored = Arc::new(Ca::make(SystemTime::now()).expect("a CA"));
    let manner = Manner {
        certificates: Duration::from_secs(6),
        ca: Some(stored),
        ..Manner::default()
    };
    let mut small = open(manner.clone()).await;
    let mut host = Host::new();
    assert!(
        host.join(small.address, &small.token)
            .await
            .status
            .success()
    );
    let first = identity(&host).certified.expires;
    host.start_agent();
    small
        .hear(|word| matches!(word, FromAgent::Renew { .. }).then_some(()))
        .await;
    small
        .hear(|word| matches!(word, FromAgent::Renew { .. }).then_some(()))
        .await;
    let second = identity(&host).certified.expires;
    assert!(second > first, "{}", host.log());

    let (book, port) = small.close().await;
    let mut small = open(Manner {
        port,
        book,
        first: false,
        ..manner
    })
    .await;
    small
        .hear(|word| matches!(word, FromAgent::Hello(_)).then_some(()))
        .await;
    let waited = small.hear(|word| match word {
        FromAgent::Report(report) => Some(report.number),
        _ => None,
    });
    assert!(
        waited.await > 1,
        "reports of the time without a link arrive too"
    );
}
