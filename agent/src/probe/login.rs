//! Log-ins as users do them: SMTP, IMAP, POP3, and a page by HTTP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::dialogue::Dialogue;
use crate::profile::{Access, Filled, Http};

struct Who {
    user: String,
    password: String,
}

fn who(access: &Access, values: &Filled) -> Result<Option<Who>, String> {
    let Some(user) = &access.user else {
        return Ok(None);
    };
    let fill = |text: &String| values.text(text).map_err(|error| error.to_string());
    let password = access
        .password
        .as_ref()
        .ok_or("a user without a password")?;
    Ok(Some(Who {
        user: fill(user)?,
        password: fill(password)?,
    }))
}

fn needed(access: &Access, values: &Filled) -> Result<Who, String> {
    who(access, values)?.ok_or_else(|| "this log-in needs a user".to_owned())
}

/// Never shows what was said: it may be a password.
fn wrong(step: &str, answer: &str) -> String {
    format!(
        "{step}: {}",
        answer
            .chars()
            .filter(|one| !one.is_control())
            .take(200)
            .collect::<String>()
    )
}

/// Waits for the last line of an SMTP answer, and for its code.
async fn code(dialogue: &mut Dialogue, step: &str, expected: &str) -> Result<(), String> {
    for _ in 0..100 {
        let line = dialogue.line().await?;
        if line.as_bytes().get(3) == Some(&b'-') {
            continue;
        }
        return match line.starts_with(expected) {
            true => Ok(()),
            false => Err(wrong(step, &line)),
        };
    }
    Err(format!("{step}: an answer without an end"))
}

pub(super) async fn smtp(access: &Access, values: &Filled) -> Result<(), String> {
    let mut dialogue = Dialogue::open(access, values).await?;
    code(&mut dialogue, "greeting", "220").await?;
    dialogue.say("EHLO lifeboat-agent").await?;
    code(&mut dialogue, "EHLO", "250").await?;
    if let Some(Who { user, password }) = who(access, values)? {
        let plain = STANDARD.encode(format!("\0{user}\0{password}"));
        dialogue.say(&format!("AUTH PLAIN {plain}")).await?;
        code(&mut dialogue, "log-in", "235").await?;
    }
    dialogue.say("QUIT").await?;
    code(&mut dialogue, "QUIT", "221").await
}

/// A quoted string of IMAP; there is no way to write a line end in one.
fn quoted(text: &str) -> Result<String, String> {
    match text.contains(['\r', '\n', '\0']) {
        true => Err("user or password holds a line end".to_owned()),
        false => Ok(format!(
            "\"{}\"",
            text.replace('\\', "\\\\").replace('"', "\\\"")
        )),
    }
}

async fn tagged(
    dialogue: &mut Dialogue,
    tag: &str,
    command: &str,
    step: &str,
) -> Result<(), String> {
    dialogue.say(&format!("{tag} {command}")).await?;
    for _ in 0..1000 {
        let line = dialogue.line().await?;
        if let Some(answer) = line.strip_prefix(tag) {
            return match answer.trim_start().starts_with("OK") {
                true => Ok(()),
                false => Err(wrong(step, answer)),
            };
        }
    }
    Err(format!("{step}: an answer without an end"))
}

pub(super) async fn imap(access: &Access, values: &Filled) -> Result<(), String> {
    let Who { user, password } = needed(access, values)?;
    let mut dialogue = Dialogue::open(access, values).await?;
    let greeting = dialogue.line().await?;
    if !greeting.starts_with("* OK") {
        return Err(wrong("greeting", &greeting));
    }
    let login = format!("LOGIN {} {}", quoted(&user)?, quoted(&password)?);
    tagged(&mut dialogue, "a1", &login, "log-in").await?;
    tagged(&mut dialogue, "a2", "EXAMINE INBOX", "inbox").await?;
    tagged(&mut dialogue, "a3", "LOGOUT", "log-out").await
}

async fn ok(dialogue: &mut Dialogue, step: &str) -> Result<(), String> {
    let line = dialogue.line().await?;
    match line.starts_with("+OK") {
        true => Ok(()),
        false => Err(wrong(step, &line)),
    }
}

pub(super) async fn pop3(access: &Access, values: &Filled) -> Result<(), String> {
    let Who { user, password } = needed(access, values)?;
    // Quoting is IMAP's; what it refuses is refused here too.
    quoted(&user).and(quoted(&password))?;
    let mut dialogue = Dialogue::open(access, values).await?;
    ok(&mut dialogue, "greeting").await?;
    dialogue.say(&format!("USER {user}")).await?;
    ok(&mut dialogue, "user").await?;
    dialogue.say(&format!("PASS {password}")).await?;
    ok(&mut dialogue, "log-in").await?;
    dialogue.say("STAT").await?;
    ok(&mut dialogue, "mailbox").await?;
    dialogue.say("QUIT").await?;
    ok(&mut dialogue, "log-out").await
}

pub(super) async fn http(page: &Http, values: &Filled) -> Result<(), String> {
    let fill = |text: &String| values.text(text).map_err(|error| error.to_string());
    let (host, path) = (fill(&page.access.host)?, fill(&page.path)?);
    if !path.starts_with('/') || path.contains(char::is_whitespace) {
        return Err(format!("`{path}` is not the path of a page"));
    }
    let mut dialogue = Dialogue::open(&page.access, values).await?;
    let login = match who(&page.access, values)? {
        Some(Who { user, password }) => {
            let basic = STANDARD.encode(format!("{user}:{password}"));
            format!("Authorization: Basic {basic}\r\n")
        }
        None => String::new(),
    };
    dialogue.say(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lifeboat-agent\r\n{login}Connection: close\r\n")).await?;
    let answer = dialogue.rest().await?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let begin = match parsed.parse(&answer) {
        Ok(httparse::Status::Complete(begin)) => begin,
        _ => return Err("the answer is not HTTP".to_owned()),
    };
    match parsed.code {
        Some(code) if code == page.status => {}
        code => {
            return Err(format!(
                "status {}, expected {}",
                code.unwrap_or_default(),
                page.status
            ));
        }
    }
    let body = String::from_utf8_lossy(answer.get(begin..).unwrap_or_default());
    match &page.contains {
        Some(text) if !body.contains(&fill(text)?) => {
            Err("the page does not hold the expected text".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::profile::Tls;

    /// A server that says its lines, each after one from the client but the first.
    async fn server(lines: &'static [&'static str]) -> Access {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = BufReader::new(stream);
            for line in lines {
                if !line.is_empty() {
                    stream.write_all(line.as_bytes()).await.expect("taken");
                }
                let mut heard = String::new();
                stream.read_line(&mut heard).await.expect("heard");
            }
        });
        Access {
            host: "127.0.0.1".to_owned(),
            port: port.to_string(),
            tls: Tls::None,
            trust: None,
            user: Some("ann".to_owned()),
            password: Some("se\"cret".to_owned()),
        }
    }

    const NOTHING: &[&str] = &[];

    #[tokio::test]
    async fn good_servers_are_good() {
        let values = Filled::default();
        let access = server(&[
            "220 hi\r\n",
            "250-one\r\n250 two\r\n",
            "235 in\r\n",
            "221 bye\r\n",
        ])
        .await;
        assert_eq!(smtp(&access, &values).await, Ok(()));
        let access = server(&[
            "* OK hi\r\n",
            "a1 OK in\r\n",
            "* 3 EXISTS\r\na2 OK\r\n",
            "* BYE\r\na3 OK\r\n",
        ])
        .await;
        assert_eq!(imap(&access, &values).await, Ok(()));
        let access = server(&["+OK\r\n", "+OK\r\n", "+OK\r\n", "+OK 3 9\r\n", "+OK\r\n"]).await;
        assert_eq!(pop3(&access, &values).await, Ok(()));
        let page = Http {
            access: server(&["", "HTTP/1.1 200 OK\r\n\r\nhello"]).await,
            path: "/".to_owned(),
            status: 200,
            contains: Some("hello".to_owned()),
        };
        assert_eq!(http(&page, &values).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_without_the_password() {
        let values = Filled::default();
        let access = server(&["* OK hi\r\n", "a1 NO [AUTHENTICATIONFAILED] no\r\n"]).await;
        let refused = imap(&access, &values).await.expect_err("refused");
        assert!(
            refused.contains("AUTHENTICATIONFAILED") && !refused.contains("cret"),
            "{refused}"
        );
        let access = server(&["554 go away\r\n"]).await;
        assert!(smtp(&access, &values).await.is_err());
        let access = server(NOTHING).await;
        assert!(pop3(&access, &values).await.is_err());
    }
}
