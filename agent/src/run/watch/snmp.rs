//! A question to a network device, by SNMP v2c.

use std::net::SocketAddr;

use snmp2::{AsyncSession, Oid, Value};

use super::Seen;
use crate::profile::{Filled, Snmp};
use crate::run::resolve;

/// Asks for one value.
pub(super) async fn ask(question: &Snmp, values: &Filled) -> Result<Seen, String> {
    let fill = |text: &String| values.text(text).map_err(|error| error.to_string());
    let (host, port) = (fill(&question.host)?, fill(&question.port)?);
    let text = fill(&question.oid)?;
    let numbers: Option<Vec<u64>> = text.split('.').map(|number| number.parse().ok()).collect();
    let numbers = numbers.ok_or_else(|| format!("`{text}` is not an object identifier"))?;
    let oid = Oid::from(&numbers).map_err(|_| format!("`{text}` is not an object identifier"))?;
    let community = fill(&question.community)?;
    let port: u16 = port
        .parse()
        .map_err(|_| format!("`{port}` is not a port"))?;
    let addresses = resolve::addresses(&host).await;
    let addresses = addresses.map_err(|error| format!("{host}: {error}"))?;
    let address = addresses
        .first()
        .ok_or_else(|| format!("{host} has no address"))?;
    let session = AsyncSession::new_v2c(
        SocketAddr::new(*address, port),
        community.as_bytes(),
        fastrand::i32(1..),
    );
    let mut session = session.await.map_err(|error| format!("{host}: {error}"))?;
    let mut answer = session
        .get(&oid)
        .await
        .map_err(|error| format!("{host}: {error:?}"))?;
    let (_, value) = answer.varbinds.next().ok_or("an answer without a value")?;
    seen(&value, &question.unit).ok_or_else(|| format!("{host} has no value for {text}"))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counters need not be exact beyond 2^53"
)]
fn seen(value: &Value<'_>, unit: &str) -> Option<Seen> {
    Some(match value {
        Value::Integer(number) => Seen::new(*number as f64, unit),
        Value::Counter32(number) | Value::Unsigned32(number) => Seen::new(f64::from(*number), unit),
        Value::Timeticks(hundredths) => Seen::new(f64::from(*hundredths) / 100.0, "s"),
        Value::Counter64(number) => Seen::new(*number as f64, unit),
        Value::OctetString(bytes) => Seen {
            value: 1.0,
            unit: "bool".to_owned(),
            text: Some(
                String::from_utf8_lossy(bytes)
                    .chars()
                    .filter(|one| !one.is_control())
                    .take(200)
                    .collect(),
            ),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    #[tokio::test]
    async fn a_device_says_how_long_it_is_up() {
        let device = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
        let port = device.local_addr().expect("bound").port();
        tokio::spawn(async move {
            let mut packet = vec![0; 1500];
            let (count, from) = device.recv_from(&mut packet).await.expect("asked");
            let mut answer = packet[..count].to_vec();
            // The same message as a response (a2), with 500 hundredths of a second for null.
            let null = answer.len() - 2;
            assert_eq!(answer[null..], [5, 0]);
            answer.truncate(null);
            answer.extend([0x43, 2, 0x01, 0xf4]);
            let request = answer
                .iter()
                .position(|byte| *byte == 0xa0)
                .expect("a request");
            answer[request] = 0xa2;
            let lengths = [1, request + 1];
            for at in lengths {
                answer[at] += 2;
            }
            for at in request + 2..answer.len() - 1 {
                // The two sequences around the value.
                if answer[at] == 0x30 && usize::from(answer[at + 1]) + at + 4 == answer.len() {
                    answer[at + 1] += 2;
                }
            }
            device.send_to(&answer, from).await.expect("answered");
        });
        let question = Snmp {
            host: "127.0.0.1".to_owned(),
            port: port.to_string(),
            community: "public".to_owned(),
            oid: "1.3.6.1.2.1.1.3.0".to_owned(),
            unit: "count".to_owned(),
        };
        assert_eq!(
            ask(&question, &Filled::default()).await,
            Ok(Seen::new(5.0, "s"))
        );
    }
}
