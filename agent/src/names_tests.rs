use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;

const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// A real BIND on loopback.
struct Bind {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Bind {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bind {
    /// `None`, loudly, where it is not installed.
    async fn start() -> Option<Self> {
        if !Path::new("/usr/sbin/named").exists() {
            eprintln!(
                "SKIPPED: no /usr/sbin/named here (package bind9); signed updates are untested"
            );
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0")
            .expect("a port")
            .local_addr()
            .expect("its number")
            .port();
        let path = folder.path().display().to_string();
        let secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        let configuration = format!(
            "options {{ directory \"{path}\"; pid-file \"{path}/pid\"; session-keyfile \"{path}/session.key\"; \
             listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; }}; controls {{ }};\n\
             key control {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n\
             key other {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n\
             zone \"example.test\" {{ type primary; file \"zone\"; update-policy {{ grant control zonesub ANY; }}; }};\n"
        );
        let zone = "$TTL 0\n@ SOA ns hostmaster 7 60 60 60 0\n@ NS ns\nns A 192.0.2.53\n@ MX 10 mail-a\nmail-a A 192.0.2.1\n";
        std::fs::write(folder.path().join("named.conf"), configuration).expect("configuration");
        std::fs::write(folder.path().join("zone"), zone).expect("zone");
        let child = Command::new("/usr/sbin/named")
            .args(["-g", "-n", "1", "-c"])
            .arg(folder.path().join("named.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("named");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let bind = Self {
            child,
            address,
            _folder: folder,
        };
        bind.answers().await;
        Some(bind)
    }

    async fn answers(&self) {
        let begin = Instant::now();
        while self
            .server("control", SECRET)
            .serial("example.test")
            .await
            .is_err()
        {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "named does not answer"
            );
            tokio::task::yield_now().await;
        }
    }

    fn server(&self, key: &str, secret: &[u8]) -> NameServer {
        NameServer {
            address: self.address,
            key: Key {
                name: key.to_owned(),
                algorithm: "hmac-sha256".to_owned(),
                secret: secret.to_vec(),
            },
        }
    }
}

fn set(name: &str, kind: Kind, values: &[&str]) -> RecordSet {
    RecordSet {
        name: name.to_owned(),
        kind,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

fn moved() -> [RecordSet; 3] {
    [
        set("example.test", Kind::Mx, &["10 mail-b.example.test"]),
        set("mail-b.example.test", Kind::A, &["192.0.2.2"]),
        set(
            "webmail.example.test",
            Kind::Cname,
            &["mail-b.example.test"],
        ),
    ]
}

#[tokio::test]
async fn records_are_replaced_and_seen_and_a_second_time_changes_nothing() {
    let Some(bind) = Bind::start().await else {
        return;
    };
    let server = bind.server("control", SECRET);
    let before = server.serial("example.test").await.expect("a serial");
    assert!(
        server
            .replace("example.test", &moved())
            .await
            .expect("replaced")
    );
    assert!(
        !server
            .replace("example.test", &moved())
            .await
            .expect("asked")
    );
    assert_ne!(
        server.serial("example.test").await.expect("a serial"),
        before
    );
    let gone = [set("webmail.example.test", Kind::Cname, &[])];
    assert!(
        server
            .replace("example.test", &gone)
            .await
            .expect("removed")
    );
}

#[tokio::test]
async fn a_key_without_the_right_or_with_another_secret_changes_nothing() {
    let Some(bind) = Bind::start().await else {
        return;
    };
    let before = bind
        .server("control", SECRET)
        .serial("example.test")
        .await
        .expect("a serial");
    for (key, secret) in [
        ("other", SECRET.as_slice()),
        ("control", b"another secret".as_slice()),
        ("unknown", SECRET.as_slice()),
    ] {
        let refused = bind
            .server(key, secret)
            .replace("example.test", &moved())
            .await;
        let error = refused.expect_err(key);
        assert!(
            matches!(error, NamesError::Refused { .. }),
            "{key}: {error:?}"
        );
    }
    let after = bind
        .server("control", SECRET)
        .serial("example.test")
        .await
        .expect("a serial");
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_server_that_is_down_is_named() {
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("its number");
    let key = Key {
        name: "control".to_owned(),
        algorithm: "hmac-sha256".to_owned(),
        secret: SECRET.to_vec(),
    };
    let silent = NameServer { address: port, key }
        .serial("example.test")
        .await
        .expect_err("nobody there");
    assert!(silent.to_string().contains(&port.to_string()), "{silent}");
}

#[test]
fn values_that_are_none_are_refused_before_anything_is_sent() {
    for (kind, text) in [
        (Kind::A, "10.0.0"),
        (Kind::Aaaa, "10.0.0.1"),
        (Kind::Mx, "mail"),
        (Kind::Mx, "x mail"),
    ] {
        assert!(
            matches!(data(kind, text), Err(NamesError::Value { .. })),
            "{text}"
        );
    }
    let outside = Wanted::parse(
        "example.test",
        &[set("example.org", Kind::A, &["192.0.2.1"])],
    );
    assert!(matches!(outside.err(), Some(NamesError::Outside { .. })));
}
