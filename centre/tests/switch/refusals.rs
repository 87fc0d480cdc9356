//! What is refused: one clear answer each, and nothing changes.

use std::path::Path;
use std::time::Duration;

use libtest_mimic::Trial;
use lifeboat_agent::run::join;
use lifeboat_agent::tls::{Identity, centre_server_name, dials, split};
use lifeboat_agent::wire::{FromAgent, Hello, PROTOCOL, Refusal, ToAgent};
use lifeboat_centre::{CentreError, Kind as Failure};
use lifeboat_failover::Side;
use lifeboat_failover::process::Kind;
use lifeboat_failover::state::State;

use crate::bed::{Bed, NAME, places, request};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_token_counts_once_for_its_host", tokens),
        trial("a_copy_of_a_host_is_turned_away", copies),
        trial("a_certificate_of_before_counts_no_more", replaced),
        trial("a_side_that_is_not_ready_gets_nothing", not_ready),
        trial(
            "nobody_is_promoted_while_nothing_is_known_of_a_lease",
            no_lease,
        ),
        trial("asked_twice_it_does_it_once", twice),
        trial("a_switch_back_needs_a_switch_over", wrong_way),
        trial("a_host_belongs_to_one_application", taken_host),
        trial("another_text_of_the_profile_is_not_ready", other_profile),
    ]
}

fn said(error: CentreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}

async fn tokens() {
    let bed = Bed::bare("").await;
    let made = bed
        .centre()
        .make_token("host-a", "test")
        .await
        .expect("a token");
    let token = made.token.parse().expect("a token");
    let folder = |name: &str| places(&bed.root.path().join(name));
    let joined = join(&folder("one"), &bed.address(), &token).await;
    assert_eq!(joined.expect("joined"), "host-a");
    let replayed = join(&folder("two"), &bed.address(), &token).await;
    let replayed = format!("{:?}", replayed.expect_err("used"));
    assert!(replayed.contains("TokenUsed"), "{replayed}");
    let wrong = bed
        .centre()
        .make_token("Host A", "test")
        .await
        .expect_err("no name");
    assert_eq!(wrong.kind(), Failure::Invalid);
    let agents = bed.centre().agents().await.expect("known");
    assert!(agents[0].joined_at.is_some() && agents[1].joined_at.is_none());
}

fn identity(folder: &Path) -> Identity {
    let text = std::fs::read(folder.join("state/identity.json")).expect("joined");
    serde_json::from_slice(&text).expect("an identity")
}

/// Says hello with somebody's certificate, from another boot.
async fn hello(bed: &Bed, identity: &Identity, boot: &str) -> ToAgent {
    let config = dials(identity).expect("a configuration");
    let stream = tokio::net::TcpStream::connect(bed.address())
        .await
        .expect("open");
    let name = centre_server_name().expect("a name");
    let stream = tokio_rustls::TlsConnector::from(config)
        .connect(name, stream)
        .await;
    let (mut sender, mut receiver) = split(stream.expect("TLS"));
    let limit = Duration::from_secs(20);
    let word = FromAgent::Hello(Box::new(Hello {
        protocol: PROTOCOL,
        version: "0".to_owned(),
        boot: boot.to_owned(),
        incarnation: 1,
        profile: None,
        peer_port: None,
        lease: None,
    }));
    sender.send(&word, limit).await.expect("sent");
    receiver.receive(limit).await.expect("an answer")
}

async fn copies() {
    let bed = Bed::new("").await;
    let stolen = identity(&bed.a.folder);
    let word = hello(&bed, &stolen, "another machine").await;
    assert!(
        matches!(word, ToAgent::Refused(Refusal::HostTaken { .. })),
        "{word:?}"
    );
    bed.until_ready(Side::Primary).await;
    assert!(bed.a.runs());
}

async fn replaced() {
    let bed = Bed::bare("").await;
    bed.join(Side::Primary).await;
    let old = identity(&bed.a.folder);
    let word = hello(&bed, &old, "one").await;
    assert!(matches!(word, ToAgent::Welcome(_)), "{word:?}");
    let made = bed
        .centre()
        .make_token("host-a", "test")
        .await
        .expect("a token");
    let token = made.token.parse().expect("a token");
    let elsewhere = places(&bed.root.path().join("elsewhere"));
    join(&elsewhere, &bed.address(), &token)
        .await
        .expect("joined");
    let word = hello(&bed, &old, "one").await;
    assert!(
        matches!(word, ToAgent::Refused(Refusal::Replaced { .. })),
        "{word:?}"
    );
}

async fn not_ready() {
    let mut bed = Bed::new("").await;
    bed.b.kill();
    bed.until("the secondary is gone", |status| {
        status.agents[1].connected_since.is_none()
    })
    .await;
    let refused = bed.centre().switch(NAME, request(Kind::SwitchOver)).await;
    let refused = refused.expect_err("not ready");
    assert_eq!(refused.kind(), Failure::Conflict);
    let text = said(refused);
    assert!(
        text.contains("host-b") && text.contains("not connected"),
        "{text}"
    );
    assert_eq!(bed.status().await.state.name, State::Normal);
    assert!(bed.a.runs());
    assert_eq!(bed.a.effects(), [""; 0]);
    assert!(!bed.centre().ready(NAME).await.expect("known").ready);
}

async fn no_lease() {
    let mut bed = Bed::bare("").await;
    bed.join(Side::Secondary).await;
    bed.b.start();
    bed.until("the secondary is there", |status| {
        status.agents[1].connected_since.is_some()
    })
    .await;
    let refused = bed.centre().switch(NAME, request(Kind::SwitchOver)).await;
    let text = said(refused.expect_err("nothing would stop the primary"));
    assert!(text.contains("does not hold a lease"), "{text}");
    assert_eq!(bed.status().await.state.name, State::Normal);
}

async fn twice() {
    let bed = Bed::new("").await;
    let (one, other) = tokio::join!(
        bed.centre().switch(NAME, request(Kind::SwitchOver)),
        bed.centre().switch(NAME, request(Kind::SwitchOver)),
    );
    let refused = match (one, other) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => said(refused),
        both => panic!("{both:?}"),
    };
    assert!(refused.contains("under way already"), "{refused}");
    bed.until_state(State::ResyncPrimary).await;
    assert_eq!(
        bed.centre().processes(NAME, 10).await.expect("known").len(),
        1
    );
}

async fn wrong_way() {
    let bed = Bed::new("").await;
    let refused = bed.centre().switch(NAME, request(Kind::SwitchBack)).await;
    let text = said(refused.expect_err("it is where it belongs"));
    assert!(
        text.contains("202") && text.contains("switch-back"),
        "{text}"
    );
    let unknown = bed
        .centre()
        .switch("other", request(Kind::SwitchOver))
        .await;
    assert_eq!(unknown.expect_err("unknown").kind(), Failure::NotFound);
    assert!(bed.a.runs());
}

async fn taken_host() {
    let bed = Bed::bare("").await;
    let file = bed.root.path().join("application.toml");
    let text = std::fs::read_to_string(&file).expect("there");
    let other = bed.root.path().join("other.toml");
    std::fs::write(&other, text.replace("\"ledger\"", "\"other\"")).expect("written");
    let refused = bed.centre().add_application(&other, "test").await;
    let text = said(refused.expect_err("taken"));
    assert!(text.contains("host-a") && text.contains("ledger"), "{text}");
    assert_eq!(bed.centre().applications().await.len(), 1);
    // The same file again is no trouble.
    bed.centre()
        .add_application(&file, "test")
        .await
        .expect("known");
    std::fs::write(&file, "[application]\nname = \"x\"\n").expect("written");
    let refused = bed.centre().add_application(&file, "test").await;
    let text = said(refused.expect_err("incomplete"));
    assert!(
        text.contains("application.toml:1") && text.contains("profile"),
        "{text}"
    );
}

async fn other_profile() {
    let mut bed = Bed::new("").await;
    let profile = bed.root.path().join("profile.toml");
    let text = std::fs::read_to_string(&profile).expect("there");
    std::fs::write(&profile, text + "# changed\n").expect("written");
    bed.b.kill();
    bed.b.start();
    let begin = std::time::Instant::now();
    loop {
        let ready = bed.centre().ready(NAME).await.expect("known");
        if ready
            .looked
            .iter()
            .any(|one| one.text.contains("another text"))
        {
            break assert!(!ready.ready);
        }
        assert!(begin.elapsed() < crate::bed::PATIENCE, "{ready:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = bed.centre().switch(NAME, request(Kind::SwitchOver)).await;
    let text = said(refused.expect_err("not ready"));
    assert!(text.contains("another text of the profile"), "{text}");
}
