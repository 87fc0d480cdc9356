//! `lifeboat access`: who may log in over HTTPS. It goes over the socket that only root can open,
//! so it is also the way back in for those who locked themselves out.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write as _};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use lifeboat_access::{
    AskToken, AskUser, AuditView, ChangeUser, Link, MadeToken, Role, SessionView, TokenView,
    UserView, Verdict,
};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use serde::Serialize;

use super::connect::Connection;
use super::output::print;
use super::remote::Remote;
use crate::daemon::WrongUse;
use crate::daemon::client::Client;
use crate::report::printable;

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum AccessCommand {
    /// A one-time link by which the first administrator is made in a browser.
    FirstUser,
    /// Users.
    #[command(subcommand)]
    User(UserCommand),
    /// Tokens of programs.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Browsers that are logged in.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Who did what; the newest first.
    Audit(Audit),
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// All users.
    List,
    /// Make a user. The password is asked for, or is the first line of standard input.
    Add {
        /// The name.
        name: String,
        /// What they may.
        #[arg(long, value_enum)]
        role: RoleWord,
    },
    /// Give a user another role.
    Role {
        /// The name.
        name: String,
        /// What they may.
        #[arg(value_enum)]
        role: RoleWord,
    },
    /// Set a user's password. It is asked for, or is the first line of standard input.
    Password {
        /// The name.
        name: String,
    },
    /// Take a user's second factor away.
    NoTotp {
        /// The name.
        name: String,
    },
    /// End every lock of a user.
    Unlock {
        /// The name.
        name: String,
    },
    /// Let a user log in no more.
    Disable {
        /// The name.
        name: String,
    },
    /// Let a user log in again.
    Enable {
        /// The name.
        name: String,
    },
    /// Remove a user with sessions and tokens.
    Remove {
        /// The name.
        name: String,
    },
}

/// Tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// All tokens.
    List,
    /// Make a token; it is printed once.
    Add {
        /// Its name, for the audit trail.
        name: String,
        /// What it may.
        #[arg(long, value_enum)]
        role: RoleWord,
        /// For what; several separated by commas.
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "status,recovery,failover"
        )]
        scope: Vec<String>,
        /// It may also do what a person has to confirm: remove, switch, end.
        #[arg(long)]
        destructive: bool,
        /// After how many days it ends.
        #[arg(long)]
        days: Option<u32>,
    },
    /// Remove a token.
    Remove {
        /// Its id.
        id: String,
    },
}

/// Browsers that are logged in.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// All of them.
    List,
    /// End one.
    End {
        /// Its id.
        id: String,
    },
}

/// The audit trail.
#[derive(Debug, Args)]
pub struct Audit {
    /// At most so many entries.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Is the trail still what was written? The exit code is 1 when it is not.
    #[arg(long)]
    verify: bool,
    /// With `--verify`: an entry that was noted earlier, `NUMBER:HASH`, and must still be there.
    #[arg(long, requires = "verify")]
    noted: Option<String>,
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// Looks.
    Viewer,
    /// Tests, switches, recovers.
    Operator,
    /// Decides who may.
    Administrator,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Viewer => Self::Viewer,
            RoleWord::Operator => Self::Operator,
            RoleWord::Administrator => Self::Administrator,
        }
    }
}

/// Runs one of them.
pub async fn run(remote: &Remote, command: AccessCommand) -> anyhow::Result<bool> {
    if matches!(command, AccessCommand::FirstUser) {
        // A private daemon has no console that a link could lead to.
        let client = Connection::existing(&remote.state_dir).await?;
        return first_user(remote, &client).await;
    }
    let connection = Connection::open(&remote.state_dir).await?;
    let client = &connection.client;
    let result = match command {
        AccessCommand::FirstUser => first_user(remote, client).await,
        AccessCommand::User(command) => user(remote, client, command).await,
        AccessCommand::Token(command) => token(remote, client, command).await,
        AccessCommand::Session(command) => session(remote, client, command).await,
        AccessCommand::Audit(asked) => audit(remote, client, &asked).await,
    };
    connection.close().await;
    result
}

async fn first_user(remote: &Remote, client: &Client) -> anyhow::Result<bool> {
    let link: Link = client
        .call(Method::POST, "/access/first-user/link", &())
        .await?;
    print(remote.format, &link, || format!("{}\n", link.url))
}

async fn user(remote: &Remote, client: &Client, command: UserCommand) -> anyhow::Result<bool> {
    let view: UserView = match command {
        UserCommand::List => {
            let users: Vec<UserView> = client.call(Method::GET, "/access/users", &()).await?;
            return print(remote.format, &users, || lines(&users, user_line));
        }
        UserCommand::Remove { name } => {
            let path = format!("/access/users/{}", segment(&name)?);
            return removed(client, &path, &format!("no user has the name `{name}`")).await;
        }
        UserCommand::Unlock { name } => {
            let path = format!("/access/users/{}/unlock", segment(&name)?);
            client.call(Method::POST, &path, &()).await?
        }
        UserCommand::Add { name, role } => {
            let asked = AskUser {
                role: role.into(),
                password: password(&name)?,
                name,
            };
            client.call(Method::POST, "/access/users", &asked).await?
        }
        UserCommand::Role { name, role } => {
            let role = Some(role.into());
            change(
                client,
                &name,
                ChangeUser {
                    role,
                    ..ChangeUser::default()
                },
            )
            .await?
        }
        UserCommand::Password { name } => {
            let password = Some(password(&name)?);
            change(
                client,
                &name,
                ChangeUser {
                    password,
                    ..ChangeUser::default()
                },
            )
            .await?
        }
        UserCommand::NoTotp { name } => {
            let totp = Some(false);
            change(
                client,
                &name,
                ChangeUser {
                    totp,
                    ..ChangeUser::default()
                },
            )
            .await?
        }
        UserCommand::Disable { name } => able(client, &name, true).await?,
        UserCommand::Enable { name } => able(client, &name, false).await?,
    };
    print(remote.format, &view, || user_line(&view))
}

async fn able(client: &Client, name: &str, disabled: bool) -> anyhow::Result<UserView> {
    let disabled = Some(disabled);
    change(
        client,
        name,
        ChangeUser {
            disabled,
            ..ChangeUser::default()
        },
    )
    .await
}

async fn change(client: &Client, name: &str, asked: ChangeUser) -> anyhow::Result<UserView> {
    let path = format!("/access/users/{}", segment(name)?);
    client.call(Method::POST, &path, &asked).await
}

async fn token(remote: &Remote, client: &Client, command: TokenCommand) -> anyhow::Result<bool> {
    match command {
        TokenCommand::List => {
            let tokens: Vec<TokenView> = client.call(Method::GET, "/access/tokens", &()).await?;
            print(remote.format, &tokens, || lines(&tokens, token_line))
        }
        TokenCommand::Add {
            name,
            role,
            scope,
            destructive,
            days,
        } => {
            let asked = AskToken {
                name,
                role: role.into(),
                scopes: scope,
                destructive,
                days,
            };
            let made: MadeToken = client.call(Method::POST, "/access/tokens", &asked).await?;
            print(remote.format, &made, || format!("{}\n", made.token))
        }
        TokenCommand::Remove { id } => {
            let path = format!("/access/tokens/{}", segment(&id)?);
            removed(client, &path, &format!("no token has the id `{id}`")).await
        }
    }
}

async fn session(
    remote: &Remote,
    client: &Client,
    command: SessionCommand,
) -> anyhow::Result<bool> {
    match command {
        SessionCommand::List => {
            let all: Vec<SessionView> = client.call(Method::GET, "/access/sessions", &()).await?;
            print(remote.format, &all, || lines(&all, session_line))
        }
        SessionCommand::End { id } => {
            let path = format!("/access/sessions/{}", segment(&id)?);
            removed(client, &path, &format!("no session has the id `{id}`")).await
        }
    }
}

async fn audit(remote: &Remote, client: &Client, asked: &Audit) -> anyhow::Result<bool> {
    if !asked.verify {
        let path = format!("/access/audit?limit={}", asked.limit);
        let entries: Vec<AuditView> = client.call(Method::GET, &path, &()).await?;
        return print(remote.format, &entries, || lines(&entries, audit_line));
    }
    let noted = asked.noted.as_deref().map(noted).transpose()?;
    let path = format!("/access/audit/verify{}", noted.unwrap_or_default());
    let verdict: Verdict = client.call(Method::GET, &path, &()).await?;
    print(remote.format, &verdict, || verdict_text(&verdict))?;
    Ok(verdict.ok)
}

fn noted(word: &str) -> anyhow::Result<String> {
    let parts = word.split_once(':');
    let parts = parts.and_then(|(seq, hash)| Some((seq.parse::<i64>().ok()?, hash)));
    let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|one| one.is_ascii_hexdigit());
    match parts.filter(|(_, hash)| is_hash(hash)) {
        Some((seq, hash)) => Ok(format!("?seq={seq}&hash={hash}")),
        None => Err(WrongUse("`--noted` is NUMBER:HASH, as `--verify` prints it".into()).into()),
    }
}

async fn removed(client: &Client, path: &str, otherwise: &str) -> anyhow::Result<bool> {
    match client.call::<bool>(Method::DELETE, path, &()).await? {
        true => Ok(true),
        false => Err(WrongUse(otherwise.to_owned()).into()),
    }
}

/// A word that can stand in a path as it is.
fn segment(word: &str) -> anyhow::Result<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) && !word.starts_with('.') {
        true => Ok(word),
        false => Err(WrongUse(format!("`{}` is no name", printable(word))).into()),
    }
}

/// A password from the terminal, asked for twice and not shown, or the first line of standard
/// input. Never an argument: everybody on the host sees those.
fn password(name: &str) -> anyhow::Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return line();
    }
    let before = tcgetattr(&input).context("failed to ask the terminal")?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(&input, SetArg::TCSAFLUSH, &silent).context("failed to silence the terminal")?;
    let asked = ask(&format!("password of {}: ", printable(name)))
        .and_then(|first| Ok((first, ask("the same again: ")?)));
    tcsetattr(&input, SetArg::TCSAFLUSH, &before).context("failed to restore the terminal")?;
    match asked? {
        (first, second) if first == second => Ok(first),
        _ => Err(WrongUse("the two passwords differ".into()).into()),
    }
}

fn ask(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let answer = line();
    eprintln!();
    answer
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("failed to read the password")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn lines<T: Serialize>(all: &[T], line: impl Fn(&T) -> String) -> String {
    all.iter().map(line).collect()
}

fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .map(|stamp| stamp.strftime("%F %T").to_string())
        .unwrap_or_default()
}

fn user_line(user: &UserView) -> String {
    let mut line = format!("{:<20} {:<14}", user.name, user.role.word());
    let marks = [
        (user.totp, "second factor".to_owned()),
        (user.disabled, "disabled".to_owned()),
    ];
    let marks = marks
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, mark)| mark);
    let locked = user
        .locked_until
        .map(|until| format!("locked until {}", time(until)));
    let last = user
        .last_login
        .map(|at| format!("last log-in {}", time(at)));
    let marks: Vec<_> = marks.chain(locked).chain(last).collect();
    let _ = writeln!(line, " {}", marks.join(", "));
    line
}

fn token_line(token: &TokenView) -> String {
    let expires = token
        .expires
        .map_or_else(String::new, |at| format!(", until {}", time(at)));
    let used = token
        .used
        .map_or_else(String::new, |at| format!(", used {}", time(at)));
    let destructive = if token.destructive {
        ", destructive"
    } else {
        ""
    };
    format!(
        "{:<18} {:<24} {:<14} {}{destructive}{expires}{used}\n",
        token.id,
        format!("{}:{}", token.owner, token.name),
        token.role.word(),
        token.scopes.join(",")
    )
}

fn session_line(session: &SessionView) -> String {
    format!(
        "{:<18} {:<20} since {}  used {}  from {}  {}\n",
        session.id,
        session.user,
        time(session.begun),
        time(session.seen),
        printable(&session.address),
        printable(&session.agent)
    )
}

fn audit_line(entry: &AuditView) -> String {
    let of = entry.of.map_or_else(String::new, |of| format!(" of {of}"));
    format!(
        "{:>7} {}  {:<7}{of} {} {}  {} {}\n",
        entry.seq,
        time(entry.at),
        format!("{:?}", entry.kind).to_lowercase(),
        printable(&entry.who),
        printable(&entry.address),
        printable(&entry.what),
        printable(&entry.text)
    )
}

fn verdict_text(verdict: &Verdict) -> String {
    let mut text = String::new();
    for fault in &verdict.faults {
        let at = fault
            .seq
            .map_or_else(String::new, |seq| format!("entry {seq}: "));
        let _ = writeln!(text, "{at}{}", printable(&fault.text));
    }
    let is = if verdict.ok {
        "is whole"
    } else {
        "is NOT what was written"
    };
    let _ = writeln!(text, "the audit trail {is}: {} entries", verdict.entries);
    if let Some(head) = &verdict.head {
        let _ = writeln!(text, "newest {}:{}", head.seq, head.hash);
    }
    text
}
