//! One connection in use: messages out and in, and a sign of life when there is nothing to say.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::event::Event;
use crate::tls::{ConnectionError, Receiver, Sender};

/// What follows from a message.
#[derive(Debug)]
pub(crate) enum Follows<Out> {
    /// An answer.
    Answer(Out),
    /// Something for the owner of all state.
    Tell(Event),
    /// Nothing.
    Nothing,
}

/// Carries messages until the connection ends. `silence` is how long the other end may say
/// nothing; when either end said nothing for a third of that, this one says `alive`.
pub(crate) async fn carry<S, Out, In>(
    sender: &mut Sender<S>,
    receiver: &mut Receiver<S>,
    outbox: &mut mpsc::Receiver<Out>,
    silence: Duration,
    mut alive: impl FnMut() -> Out,
    events: &mpsc::Sender<Event>,
    mut heard: impl FnMut(In) -> Follows<Out>,
) -> ConnectionError
where
    S: AsyncRead + AsyncWrite,
    Out: Serialize,
    In: DeserializeOwned,
{
    let mut last_heard = Instant::now();
    let mut last_said = Instant::now();
    let mut last_alive = Instant::now();
    loop {
        // Whoever has much to say still has to ask whether he is heard.
        let quiet_since = last_said.min(last_heard).max(last_alive);
        let say = tokio::select! {
            () = sleep_until(last_heard + silence) => return ConnectionError::Silent(silence),
            () = sleep_until(quiet_since + silence / 3) => {
                last_alive = Instant::now();
                Some(alive())
            }
            message = outbox.recv() => match message {
                Some(message) => Some(message),
                None => return ConnectionError::Closed,
            },
            message = receiver.receive(silence) => match message {
                Ok(message) => {
                    last_heard = Instant::now();
                    match heard(message) {
                        Follows::Answer(answer) => Some(answer),
                        Follows::Nothing => None,
                        Follows::Tell(event) => match events.send(event).await {
                            Ok(()) => None,
                            Err(_) => return ConnectionError::Closed,
                        },
                    }
                }
                Err(error) => return error,
            },
        };
        if let Some(message) = say {
            if let Err(error) = sender.send(&message, silence).await {
                return error;
            }
            last_said = Instant::now();
        }
    }
}

/// Waits longer after every failure, never the same time twice, so that a thousand agents do not
/// come back at once.
#[derive(Debug)]
pub(crate) struct Patience {
    next: Duration,
    longest: Duration,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(250);

    pub(crate) fn up_to(longest: Duration) -> Self {
        Self {
            next: Self::FIRST,
            longest,
        }
    }

    /// It worked.
    pub(crate) fn refresh(&mut self) {
        self.next = Self::FIRST;
    }

    /// How long to wait now.
    pub(crate) fn wait(&mut self) -> Duration {
        let now = self.next.min(self.longest);
        self.next = (self.next * 2).min(self.longest);
        now.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_to_its_end_and_starts_anew_after_success() {
        let mut patience = Patience::up_to(Duration::from_secs(30));
        let waits: Vec<_> = (0..20).map(|_| patience.wait()).collect();
        assert!(waits[0] <= Duration::from_millis(250));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(30)));
        assert!(waits[19] >= Duration::from_secs(15));
        patience.refresh();
        assert!(patience.wait() <= Duration::from_millis(250));
    }
}
