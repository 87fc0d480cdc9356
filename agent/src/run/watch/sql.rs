//! A log-in to PostgreSQL, and one question.

use tokio::time::Instant;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

use super::Seen;
use crate::profile::{Filled, Sql, Tls};
use crate::run::log::Chain;
use crate::run::resolve;

/// Logs in and asks; a single number in the answer becomes the value, else the seconds it took.
pub(super) async fn ask(question: &Sql, values: &Filled, begin: Instant) -> Result<Seen, String> {
    let fill = |text: &String| values.text(text).map_err(|error| error.to_string());
    let access = &question.access;
    if access.tls != Tls::None {
        return Err("PostgreSQL is asked without TLS only: ask it on its own host".to_owned());
    }
    let port = fill(&access.port)?;
    let mut config = Config::new();
    config
        .host(fill(&access.host)?)
        .port(
            port.parse()
                .map_err(|_| format!("`{port}` is not a port"))?,
        )
        .dbname(fill(&question.database)?)
        .application_name("lifeboat-agent");
    if let Some(user) = &access.user {
        config.user(fill(user)?);
    }
    if let Some(password) = &access.password {
        config.password(fill(password)?);
    }
    let failed = |error: tokio_postgres::Error| Chain(&error).to_string();
    // With the address given, the name is not looked up again.
    if let [tokio_postgres::config::Host::Tcp(host)] = config.get_hosts() {
        let addresses = resolve::addresses(host).await;
        let addresses = addresses.map_err(|error| format!("{host}: {error}"))?;
        if let Some(first) = addresses.first() {
            config.hostaddr(*first);
        }
    }
    let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
    let query = fill(&question.query)?;
    let answered = async move { client.simple_query(&query).await };
    // The connection ends with the client; both end with the check's time.
    let (answer, _) = tokio::join!(answered, connection);
    let rows = answer.map_err(failed)?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(match (single(&rows), &question.unit) {
        (Some(value), Some(unit)) => Seen::new(value, unit),
        _ => Seen::new(seconds, "s"),
    })
}

fn single(rows: &[SimpleQueryMessage]) -> Option<f64> {
    let mut rows = rows.iter().filter_map(|one| match one {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = rows.next()?;
    match (rows.next(), row.len()) {
        (None, 1) => row.get(0)?.parse().ok(),
        _ => None,
    }
}
