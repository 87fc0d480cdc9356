//! Services: started and stopped until they are seen to run, or not.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Did, Executor, Failed, Stepped};
use crate::profile::{Filled, Service};
use crate::run::command::{CommandError, Given, run};

const SYSTEMCTL: &str = "/bin/systemctl";
const STATUS: Duration = Duration::from_secs(10);

fn systemctl(words: &[&str]) -> Vec<String> {
    [SYSTEMCTL]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect()
}

fn status(service: &Service) -> Vec<String> {
    match (&service.unit, &service.status) {
        (Some(unit), _) => systemctl(&["is-active", "--quiet", unit]),
        (None, status) => status.clone().unwrap_or_default(),
    }
}

/// Whether a service runs.
pub(crate) async fn is_running(service: &Service, values: &Filled) -> Result<bool, String> {
    let argv = values
        .all(&status(service))
        .map_err(|error| error.to_string())?;
    let output = run(&argv, Given::looks(STATUS)).await;
    output
        .map(|output| output.code == Some(0))
        .map_err(|error: CommandError| crate::run::log::Chain(&error).to_string())
}

/// Whether a service starts by itself at boot, where that can be known.
pub(crate) async fn starts_at_boot(service: &Service) -> Option<bool> {
    let unit = service.unit.as_ref()?;
    let argv = systemctl(&["is-enabled", "--quiet", unit]);
    let output = run(&argv, Given::looks(STATUS)).await.ok()?;
    Some(output.code == Some(0))
}

impl Executor {
    pub(super) async fn start(&self, name: &str) -> Stepped {
        let service = self.service(name)?;
        let argv = match &service.unit {
            Some(unit) => systemctl(&["start", unit]),
            None => service.start.clone().unwrap_or_default(),
        };
        self.bring(service, &argv, true).await
    }

    pub(super) async fn stop(&self, name: &str) -> Stepped {
        let service = self.service(name)?;
        let argv = match &service.unit {
            Some(unit) => systemctl(&["stop", unit]),
            None => service.stop.clone().unwrap_or_default(),
        };
        self.bring(service, &argv, false).await
    }

    async fn bring(&self, service: &Service, argv: &[String], running: bool) -> Stepped {
        let what = if running { "runs" } else { "is stopped" };
        if self.runs(service).await? == running {
            return Ok(Did::already(format!("{} {what} already", service.name)));
        }
        let limit = Duration::from_secs(service.within_s.into());
        let end = Instant::now() + limit;
        let output = self.command(&self.values.all(argv)?, limit).await?;
        if output.code != Some(0) {
            return Err(Failed(format!("{}: {}", service.name, output.line())));
        }
        while self.runs(service).await? != running {
            if Instant::now() >= end {
                let name = &service.name;
                return Err(Failed(format!(
                    "{name} was told so, but is not seen so after {} s",
                    limit.as_secs()
                )));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Did::changed(format!("{} {what}", service.name)))
    }

    pub(super) async fn at_boot(&self, name: &str, verb: &str) -> Stepped {
        let service = self.service(name)?;
        let unit = service.unit.as_deref().unwrap_or_default();
        if starts_at_boot(service).await == Some(verb == "enable") {
            return Ok(Did::already(format!("{unit}: {verb}d already")));
        }
        let output = self.command(&systemctl(&[verb, unit]), STATUS * 6).await?;
        match output.code {
            Some(0) => Ok(Did::changed(format!("{unit}: {verb}d"))),
            _ => Err(Failed(format!("{unit}: {}", output.line()))),
        }
    }

    async fn runs(&self, service: &Service) -> Result<bool, Failed> {
        is_running(service, &self.values).await.map_err(Failed)
    }

    fn service(&self, name: &str) -> Result<&Service, Failed> {
        let found = self.loaded.profile.service(name);
        found.ok_or_else(|| Failed::new(format!("the profile has no service `{name}`")))
    }
}
