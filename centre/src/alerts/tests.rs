//! Alerts from raising to a mail server and a web server.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use sqlx::sqlite::SqlitePool;
use tokio::sync::watch;

use super::smtp_server::{Mood, Server};
use super::*;
use crate::clock;
use crate::store::Store;

const HASTE: Patience = Patience {
    first: 50,
    longest: 200,
    settle: 0,
    quiet: 600_000,
    otherwise_after: 2,
};

struct House {
    alerts: Alerts,
    pool: SqlitePool,
    task: tokio::task::JoinHandle<()>,
    _folder: Option<tempfile::TempDir>,
}

async fn house(patience: Patience, settings: &Settings) -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let mut house = house_in(folder.path(), patience, settings).await;
    house._folder = Some(folder);
    house
}

async fn house_in(folder: &Path, patience: Patience, settings: &Settings) -> House {
    let pool = Store::open(folder).await.expect("a store").pool().clone();
    let alerts = Alerts::new(pool.clone(), patience);
    alerts.set_routes("mail", settings);
    let running = alerts.clone();
    let task = tokio::spawn(async move { running.run().await });
    House {
        alerts,
        pool,
        task,
        _folder: None,
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn mail_route(address: std::net::SocketAddr) -> Route {
    Route {
        name: "operators".to_owned(),
        when: When::Always,
        least: Gravity::Warning,
        mail: Some(Mail {
            server: "127.0.0.1".to_owned(),
            port: address.port(),
            tls: Tls::None,
            trust: None,
            user: None,
            password_file: None,
            from: "Lifeboat <lifeboat@example.test>".to_owned(),
            to: vec!["ops@example.test".to_owned()],
        }),
        webhook: None,
    }
}

fn routes(routes: Vec<Route>) -> Settings {
    Settings { routes }
}

fn warning(subject: &str) -> Warning {
    Warning {
        key: format!("health/mail/{subject}"),
        application: Some("mail".to_owned()),
        gravity: Gravity::Warning,
        title: format!("mail: {subject} is impaired"),
        text: "at this rate it is full in 3 hours\n".to_owned(),
        since: clock::unix(),
        fingerprint: String::new(),
        ends: Ends::WhenOver,
    }
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let line = mail.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim()
}

fn subjects(mails: &[String]) -> Vec<&str> {
    mails.iter().map(|mail| header(mail, "Subject:")).collect()
}

async fn raise(house: &House, warning: &Warning) -> bool {
    let raised = house.alerts.raise(warning, clock::unix()).await;
    raised.expect("kept")
}

async fn recover(house: &House, warning: &Warning) {
    let done = house
        .alerts
        .recover(&warning.key, &Recovery::Recovered, clock::unix())
        .await;
    assert!(done.expect("kept"));
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(120), looking).await;
    found.expect("within two minutes")
}

#[tokio::test]
async fn a_trouble_is_told_once_and_its_end_in_the_same_thread() {
    let server = Server::start(None).await;
    let house = house(HASTE, &routes(vec![mail_route(server.address)])).await;
    let store = warning("mail-a/store.mail");
    assert!(raise(&house, &store).await);
    for _ in 0..20 {
        assert!(!raise(&house, &store).await, "the same trouble again");
    }
    let first = server.wait(|mails| mails.len() == 1).await;
    recover(&house, &store).await;
    let mails = server.wait(|mails| mails.len() == 2).await;
    assert_eq!(
        subjects(&mails),
        [
            "[lifeboat] warning: mail: mail-a/store.mail is impaired",
            "[lifeboat] over: mail: mail-a/store.mail is impaired"
        ]
    );
    let id = header(&first[0], "Message-ID:");
    assert!(id.starts_with("<lifeboat."), "{id}");
    assert_eq!(header(&mails[1], "In-Reply-To:"), id);
    assert!(mails[0].contains("full in 3 hours") && mails[1].contains("well again"));
    let list = house
        .alerts
        .list(Some("mail"), false, 10)
        .await
        .expect("read");
    assert_eq!((list.len(), list[0].times), (1, 21));
    assert!(list[0].over_at.is_some());
    assert!(raise(&house, &store).await, "a new trouble after its end");
    server.wait(|mails| mails.len() == 3).await;
}

#[tokio::test]
async fn what_becomes_worse_is_told_again_and_is_not_acknowledged_any_more() {
    let server = Server::start(None).await;
    let house = house(HASTE, &routes(vec![mail_route(server.address)])).await;
    let store = warning("mail-a/store.mail");
    raise(&house, &store).await;
    let alert = house
        .alerts
        .list(None, true, 1)
        .await
        .expect("read")
        .remove(0);
    let now = clock::unix();
    assert!(
        house
            .alerts
            .acknowledge(alert.id, "ann", now)
            .await
            .expect("kept")
    );
    assert!(
        !house
            .alerts
            .acknowledge(alert.id, "bob", now)
            .await
            .expect("kept")
    );
    let worse = Warning {
        gravity: Gravity::Critical,
        ..store.clone()
    };
    assert!(raise(&house, &worse).await);
    assert!(!raise(&house, &store).await, "a little better is no news");
    let mails = server.wait(|mails| mails.len() == 2).await;
    assert!(subjects(&mails)[1].starts_with("[lifeboat] CRITICAL:"));
    let alert = house
        .alerts
        .list(None, true, 1)
        .await
        .expect("read")
        .remove(0);
    assert_eq!(alert.acknowledged_by, None);
    assert_eq!(alert.gravity, Gravity::Critical);
}

#[tokio::test]
async fn a_flicker_is_one_alert() {
    let server = Server::start(None).await;
    let patience = Patience {
        settle: 3_600_000,
        ..HASTE
    };
    let house = house(patience, &routes(vec![mail_route(server.address)])).await;
    let imap = warning("mail-a/access.imap");
    for _ in 0..10 {
        raise(&house, &imap).await;
        recover(&house, &imap).await;
    }
    raise(&house, &warning("mail-a/control")).await;
    let mails = server.wait(|mails| mails.len() == 2).await;
    assert!(subjects(&mails)[1].contains("control"), "{mails:?}");
    let open = house.alerts.list(None, true, 10).await.expect("read");
    assert_eq!(open.len(), 2);
}

#[tokio::test]
async fn what_falls_quiet_is_a_new_alert_the_next_time_and_its_end_is_told_once() {
    let server = Server::start(None).await;
    let patience = Patience { quiet: 0, ..HASTE };
    let house = house(patience, &routes(vec![mail_route(server.address)])).await;
    let stopped = Warning {
        ends: Ends::WhenQuiet,
        ..warning("switch.344")
    };
    let quiet = async || {
        let open = house.alerts.list(None, true, 1).await.expect("read");
        open.is_empty().then_some(())
    };
    raise(&house, &stopped).await;
    until(quiet).await;
    assert!(raise(&house, &stopped).await);
    server.wait(|mails| mails.len() == 2).await;
    until(quiet).await;
    recover(&house, &stopped).await;
    let mails = server.wait(|mails| mails.len() == 3).await;
    assert!(subjects(&mails)[2].contains("over"), "{mails:?}");
    let again = house
        .alerts
        .recover(&stopped.key, &Recovery::Recovered, clock::unix())
        .await;
    assert!(!again.expect("kept"));
}

#[tokio::test]
async fn gravity_decides_which_routes_are_taken() {
    let server = Server::start(None).await;
    let phone = Route {
        name: "phone".to_owned(),
        least: Gravity::Critical,
        ..mail_route(server.address)
    };
    let house = house(HASTE, &routes(vec![phone])).await;
    raise(&house, &warning("a")).await;
    let critical = Warning {
        gravity: Gravity::Critical,
        ..warning("b")
    };
    raise(&house, &critical).await;
    let mails = server.wait(|mails| !mails.is_empty()).await;
    assert!(subjects(&mails)[0].contains(" b "), "{mails:?}");
    until(async || (house.alerts.waiting("mail/phone").await.expect("read") == 0).then_some(()))
        .await;
    assert_eq!(server.mails().len(), 1);
}

/// A web server that takes notes, or says that it cannot.
async fn web(status: StatusCode) -> (String, watch::Receiver<Vec<(String, Value)>>) {
    let (sender, receiver) = watch::channel(Vec::new());
    let sender = Arc::new(sender);
    let take = move |headers: HeaderMap, Json(note): Json<Value>| {
        let sender = sender.clone();
        async move {
            let key = headers.get("idempotency-key").expect("a key");
            let key = key.to_str().expect("text").to_owned();
            sender.send_modify(|notes| notes.push((key, note)));
            status
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("bound");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let router = Router::new().route("/hook", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, receiver)
}

fn web_route(url: String, when: When) -> Route {
    Route {
        name: "web".to_owned(),
        when,
        least: Gravity::Warning,
        mail: None,
        webhook: Some(Webhook {
            url,
            trust: None,
            secret_file: None,
        }),
    }
}

#[tokio::test]
async fn while_the_mail_server_is_down_the_other_route_is_taken_and_the_mail_comes_later() {
    let address = Server::start(None).await.stop().await;
    let (url, mut notes) = web(StatusCode::NO_CONTENT).await;
    let other = web_route(url, When::Otherwise);
    let house = house(HASTE, &routes(vec![mail_route(address), other])).await;
    let host = warning("mail-a/host");
    raise(&house, &host).await;
    let by_web = notes.wait_for(|notes| notes.iter().any(|(_, note)| note["subject"] == host.key));
    let by_web = tokio::time::timeout(Duration::from_secs(60), by_web);
    let (key, note) = by_web.await.expect("in time").expect("a server")[0].clone();
    assert_eq!(note["kind"], "raised");
    assert_eq!(note["application"], "mail");
    assert!(key.ends_with(&format!(".{}", 1)), "{key}");
    recover(&house, &host).await;
    let told = |notes: &Vec<(String, Value)>, what: &str| {
        notes
            .iter()
            .filter(|(_, note)| note["kind"] == what && note["subject"] == host.key)
            .count()
    };
    let over = notes.wait_for(|notes| told(notes, "over") == 1);
    tokio::time::timeout(Duration::from_secs(60), over)
        .await
        .expect("in time")
        .expect("a server");
    assert!(house.alerts.waiting("mail/operators").await.expect("read") >= 2);
    // That mail does not leave is an alert itself.
    let open = until(async || {
        let open = house
            .alerts
            .list(Some("mail"), true, 10)
            .await
            .expect("read");
        open.into_iter()
            .find(|alert| alert.key == "alerts/mail/operators")
    });
    assert!(open.await.title.contains("do not leave by `operators`"));

    let server = Server::start(Some(address)).await;
    let mails = server.wait(|mails| mails.len() >= 2).await;
    assert!(subjects(&mails)[0].contains("warning: mail: mail-a/host"));
    assert!(
        subjects(&mails)[1].contains("over: mail: mail-a/host"),
        "in their order"
    );
    until(async || {
        (house.alerts.waiting("mail/operators").await.expect("read") == 0).then_some(())
    })
    .await;
    until(async || {
        house
            .alerts
            .list(None, true, 10)
            .await
            .expect("read")
            .is_empty()
            .then_some(())
    })
    .await;
    let doubled = notes.borrow();
    assert_eq!((told(&doubled, "raised"), told(&doubled, "over")), (1, 1));
}

#[tokio::test]
async fn the_other_route_is_not_taken_while_the_first_one_works() {
    let server = Server::start(None).await;
    let (url, notes) = web(StatusCode::NO_CONTENT).await;
    let other = web_route(url, When::Otherwise);
    let house = house(HASTE, &routes(vec![mail_route(server.address), other])).await;
    for index in 0..10 {
        raise(&house, &warning(&index.to_string())).await;
    }
    server.wait(|mails| mails.len() == 10).await;
    assert!(notes.borrow().is_empty());
    assert_eq!(house.alerts.waiting("mail/web").await.expect("read"), 0);
}

#[tokio::test]
async fn a_mail_that_the_server_never_takes_holds_up_no_other() {
    let server = Server::start(None).await;
    server.mood(Mood::PoisonNever);
    let house = house(HASTE, &routes(vec![mail_route(server.address)])).await;
    raise(&house, &warning("poison")).await;
    raise(&house, &warning("water")).await;
    let mails = server.wait(|mails| mails.len() == 1).await;
    assert!(subjects(&mails)[0].contains("water"));
    server.mood(Mood::Takes);
    server
        .wait(|mails| mails.iter().any(|mail| mail.contains("poison")))
        .await;
}

#[tokio::test]
async fn a_server_that_says_later_gets_it_later_and_not_in_a_hail() {
    let server = Server::start(None).await;
    server.mood(Mood::Later);
    let house = house(HASTE, &routes(vec![mail_route(server.address)])).await;
    raise(&house, &warning("a")).await;
    let error = until(async || {
        house
            .alerts
            .list(None, true, 1)
            .await
            .expect("read")
            .remove(0)
            .error
    });
    assert!(error.await.contains("451"));
    let attempts = async || -> i64 {
        let query = sqlx::query_scalar("SELECT attempts FROM alert_deliveries LIMIT 1");
        query.fetch_one(&house.pool).await.expect("read")
    };
    let begin = tokio::time::Instant::now();
    until(async || (attempts().await >= 5).then_some(())).await;
    assert!(begin.elapsed() >= Duration::from_millis(300), "pauses grow");
    server.mood(Mood::Takes);
    server.wait(|mails| mails.len() == 1).await;
}

#[tokio::test]
async fn tls_is_demanded_and_checked() {
    let server = Server::start_for_user().await;
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        Some(path)
    };
    let route = |name: &str, tls, trust| {
        let mut route = mail_route(server.address);
        route.name = name.to_owned();
        let mail = route.mail.as_mut().expect("mail");
        mail.server = "localhost".to_owned();
        mail.tls = tls;
        mail.trust = trust;
        mail.user = Some("lifeboat".to_owned());
        mail.password_file = write("password", "secret\n");
        route
    };
    let trust = write("ca.pem", &server.certificate);
    let other = generate_other();
    let stranger = write("other.pem", &other);
    let house = house(
        HASTE,
        &routes(vec![
            route("starttls", Tls::Starttls, trust.clone()),
            route("wrapped", Tls::Wrapped, trust),
            route("stranger", Tls::Wrapped, stranger),
        ]),
    )
    .await;
    raise(&house, &warning("a")).await;
    server.wait(|mails| mails.len() == 2).await;
    let error = until(async || {
        house
            .alerts
            .list(None, true, 1)
            .await
            .expect("read")
            .remove(0)
            .error
    });
    let error = error.await;
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(
        house.alerts.waiting("mail/stranger").await.expect("read"),
        1
    );
    assert_eq!(server.mails().len(), 2);
}

fn generate_other() -> String {
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    other.expect("a certificate").cert.pem()
}

/// Runs itself as a child that raises alerts and delivers them, kills it in the middle, and goes on
/// in its place.
#[tokio::test]
async fn a_control_centre_that_is_killed_loses_no_alert() {
    const FOLDER: &str = "LIFEBOAT_TEST_ALERTS";
    const PORT: &str = "LIFEBOAT_TEST_PORT";
    if let (Ok(folder), Ok(port)) = (std::env::var(FOLDER), std::env::var(PORT)) {
        let address = ([127, 0, 0, 1], port.parse().expect("a port")).into();
        let house = house_in(
            Path::new(&folder),
            HASTE,
            &routes(vec![mail_route(address)]),
        )
        .await;
        for number in 0.. {
            raise(&house, &warning(&format!("number-{number}-"))).await;
            println!("raised {number}");
        }
    }
    let server = Server::start(None).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut raised = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().expect("itself"))
            .args(["--exact", "--nocapture"])
            .arg("alerts::tests::a_control_centre_that_is_killed_loses_no_alert")
            .env(FOLDER, folder.path())
            .env(PORT, server.address.port().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let killed = tokio::task::spawn_blocking(move || {
            let mut heard = 0;
            for line in output.lines().map_while(Result::ok) {
                heard += usize::from(line.contains("raised "));
                if heard == 15 + round * 7 {
                    child.kill().expect("killed");
                }
            }
            child.wait().expect("gone");
            heard
        });
        raised = raised.max(killed.await.expect("a child"));
    }
    assert!(raised >= 15, "the child never raised anything");
    let house = house_in(
        folder.path(),
        HASTE,
        &routes(vec![mail_route(server.address)]),
    )
    .await;
    until(async || {
        (house.alerts.waiting("mail/operators").await.expect("read") == 0).then_some(())
    })
    .await;
    let mails = server.mails();
    for number in 0..raised {
        let named = |mail: &&String| mail.contains(&format!("number-{number}-"));
        let ids: BTreeSet<&str> = mails
            .iter()
            .filter(named)
            .map(|mail| header(mail, "Message-ID:"))
            .collect();
        assert_eq!(ids.len(), 1, "alert {number} of {raised}: {ids:?}");
    }
}

#[test]
fn pauses_grow_and_end() {
    let patience = Patience::default();
    let pauses: Vec<u64> = (1..10)
        .map(|attempt| patience.pause(attempt) / 1000)
        .collect();
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(patience.pause(u32::MAX), 300_000);
}
