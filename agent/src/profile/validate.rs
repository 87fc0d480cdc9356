//! What a profile has to keep to, beyond its form.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::action::Step;
use super::error::{Piece, ProfileError, at, key};
use super::parameter::{Kind, Part, own_parameters, parts, request_parameters};
use super::{Profile, Role, Service};

struct Judge<'a> {
    profile: &'a Profile,
    file: &'a Path,
    text: &'a str,
}

/// Checks everything that the form of the file does not show.
pub(super) fn validate(profile: &Profile, file: &Path, text: &str) -> Result<(), ProfileError> {
    let judge = Judge {
        profile,
        file,
        text,
    };
    judge.parameters()?;
    judge.services()?;
    judge.stores()?;
    judge.actions()?;
    judge.fence()?;
    judge.checks()?;
    judge.listings()?;
    judge.archive()?;
    judge.placeholders()
}

/// Where text is for readers and braces mean nothing.
const PROSE: [&str; 4] = ["title", "about", "because", "unproven"];
/// Where a secret may stand: nowhere that other users of the host can see.
const SECRET_PLACES: [&str; 3] = ["password", "input", "community"];

impl Judge<'_> {
    fn fault<T>(&self, path: &[Piece], what: impl Into<String>) -> Result<T, ProfileError> {
        Err(at(self.file, self.text, path, what.into()))
    }

    fn parameters(&self) -> Result<(), ProfileError> {
        for (name, parameter) in &self.profile.parameter {
            let path = [key("parameter"), key(name)];
            if own_parameters().contains(&name.as_str())
                || request_parameters().contains(&name.as_str())
            {
                return self.fault(
                    &path,
                    "the agent knows this one by itself: take another name",
                );
            }
            let Some(default) = &parameter.default else {
                continue;
            };
            if let Err(why) = parameter.kind.check(default) {
                let path = [key("parameter"), key(name), key("default")];
                return self.fault(&path, format!("the default {why}"));
            }
        }
        for name in self.profile.text.keys() {
            let taken = self.profile.parameter.contains_key(name)
                || own_parameters().contains(&name.as_str())
                || request_parameters().contains(&name.as_str());
            if taken {
                let path = [key("text"), key(name)];
                return self.fault(&path, "another value has this name");
            }
        }
        Ok(())
    }

    fn services(&self) -> Result<(), ProfileError> {
        for (place, service) in self.profile.service.iter().enumerate() {
            let path = [key("service"), Piece::Place(place)];
            self.once(&path, "service", place, |profile, place| {
                &profile.service[place].name
            })?;
            let Service {
                unit,
                start,
                stop,
                status,
                ..
            } = service;
            let commands = [start, stop, status].into_iter().flatten().count();
            match (unit, commands) {
                (Some(_), 0) | (None, 3) => {}
                _ => {
                    return self.fault(
                        &path,
                        "a service has a `unit`, or all of `start`, `stop` and `status`",
                    );
                }
            }
            for argv in [start, stop, status].into_iter().flatten() {
                self.program(&path, argv)?;
            }
        }
        Ok(())
    }

    fn stores(&self) -> Result<(), ProfileError> {
        for (place, store) in self.profile.store.iter().enumerate() {
            let path = [key("store"), Piece::Place(place)];
            self.once(&path, "store", place, |profile, place| {
                &profile.store[place].name
            })?;
            if store.device.is_some() != store.filesystem.is_some() {
                return self.fault(
                    &path,
                    "a store has both `device` and `filesystem`, or neither",
                );
            }
            let commands = [
                &store.read_test,
                &store.soft_recovery,
                &store.hard_recovery,
                &store.refill,
            ];
            for argv in commands.into_iter().flatten() {
                self.program(&path, argv)?;
            }
        }
        Ok(())
    }

    fn once<'p>(
        &'p self,
        path: &[Piece],
        what: &str,
        place: usize,
        name: impl Fn(&'p Profile, usize) -> &'p String,
    ) -> Result<(), ProfileError> {
        let mine = name(self.profile, place);
        match (0..place).any(|earlier| name(self.profile, earlier) == mine) {
            true => self.fault(path, format!("a second {what} of the name `{mine}`")),
            false => Ok(()),
        }
    }

    fn actions(&self) -> Result<(), ProfileError> {
        let missing = self
            .profile
            .required()
            .into_iter()
            .find(|one| !self.profile.action.contains_key(one));
        if let Some(missing) = missing {
            let name = serde_json::to_value(missing).unwrap_or_default();
            let name = name.as_str().unwrap_or_default();
            let what = format!(
                "`[action.{name}]` is missing; where there is nothing to do write `steps = []` and `because`"
            );
            return self.fault(&[key("action")], what);
        }
        for (action, steps) in &self.profile.action {
            let name = serde_json::to_value(action).unwrap_or_default();
            let path = [key("action"), key(name.as_str().unwrap_or_default())];
            if steps.steps.is_empty() && steps.because.is_none() {
                return self.fault(&path, "an action without steps says `because`");
            }
            for (place, step) in steps.steps.iter().enumerate() {
                let path = [&path[..], &[key("steps"), Piece::Place(place)]].concat();
                self.step(&path, step)?;
            }
        }
        Ok(())
    }

    fn step(&self, path: &[Piece], step: &Step) -> Result<(), ProfileError> {
        match step {
            Step::Run(run) => {
                self.program(path, &run.argv)?;
                run.unless
                    .iter()
                    .try_for_each(|argv| self.program(path, argv))
            }
            Step::WaitEmpty(wait) => self.program(path, &wait.argv),
            Step::Start(name) | Step::Stop(name) => match self.profile.service(name) {
                Some(_) => Ok(()),
                None => self.fault(path, format!("the profile has no service `{name}`")),
            },
            Step::Enable(name) | Step::Disable(name) => match self.profile.service(name) {
                Some(service) if service.unit.is_some() => Ok(()),
                Some(_) => self.fault(path, format!("the service `{name}` has no systemd unit")),
                None => self.fault(path, format!("the profile has no service `{name}`")),
            },
            Step::Mount(name)
            | Step::RemountReadOnly(name)
            | Step::Unmount(name)
            | Step::EnsureStore(name) => match self.profile.store(name) {
                Some(_) => Ok(()),
                None => self.fault(path, format!("the profile has no store `{name}`")),
            },
            Step::TakeImage(_)
            | Step::ProveImage(_)
            | Step::PlaceImage(_)
            | Step::RestoreImage(_)
                if self.profile.archive.is_none() =>
            {
                self.fault(path, "images need an `[archive]` section")
            }
            Step::TakeImage(_)
            | Step::ProveImage(_)
            | Step::PlaceImage(_)
            | Step::RestoreImage(_) => Ok(()),
            Step::DeleteFiles(delete) if delete.ending.is_empty() => {
                self.fault(path, "an empty `ending` would delete everything")
            }
            Step::ClosePorts(_)
            | Step::OpenPorts(_)
            | Step::RenameHost(_)
            | Step::Reboot(_)
            | Step::DeleteFiles(_) => Ok(()),
        }
    }

    fn fence(&self) -> Result<(), ProfileError> {
        let Some(fence) = &self.profile.fence else {
            return match self.profile.role {
                Role::Application => self.fault(
                    &[key("fence")],
                    "`[fence]` is missing: an application that cannot be fenced is not moved",
                ),
                Role::Directory => Ok(()),
            };
        };
        let path = [key("fence"), key("commands")];
        if fence.commands.is_empty() {
            return self.fault(&path, "a fence needs at least one command");
        }
        fence
            .commands
            .iter()
            .try_for_each(|argv| self.program(&path, argv))
    }

    fn checks(&self) -> Result<(), ProfileError> {
        for (place, check) in self.profile.check.iter().enumerate() {
            let path = [key("check"), Piece::Place(place)];
            self.once(&path, "check", place, |profile, place| {
                &profile.check[place].name
            })?;
            if let super::Probe::Command { argv, .. } = &check.probe {
                self.program(&path, argv)?;
            }
        }
        Ok(())
    }

    fn listings(&self) -> Result<(), ProfileError> {
        for (place, listing) in self.profile.listing.iter().enumerate() {
            let path = [key("listing"), Piece::Place(place)];
            self.once(&path, "listing", place, |profile, place| {
                &profile.listing[place].name
            })?;
            self.program(&path, &listing.argv)?;
        }
        Ok(())
    }

    fn archive(&self) -> Result<(), ProfileError> {
        let Some(archive) = &self.profile.archive else {
            return Ok(());
        };
        let path = [key("archive")];
        self.program(&path, std::slice::from_ref(&archive.program))?;
        if let Some(proof) = &archive.proof {
            self.program(&path, proof)?;
        }
        let wrong = archive.exclude.iter().any(|one| {
            let rest = one.strip_prefix('*').unwrap_or(one);
            rest.is_empty() || rest.contains(['*', '?', '[', '/', '\\'])
        });
        match wrong {
            true => self.fault(
                &[key("archive"), key("exclude")],
                "what is left out is a name, or `*` and what names end in",
            ),
            false => Ok(()),
        }
    }

    /// What is executed is named by its path: nobody's `PATH` decides.
    fn program(&self, path: &[Piece], argv: &[String]) -> Result<(), ProfileError> {
        match argv.first() {
            Some(program) if program.starts_with('/') || program.contains(":\\") => Ok(()),
            Some(program) => self.fault(path, format!("`{program}` is not an absolute path")),
            None => self.fault(path, "a command without a program"),
        }
    }

    fn placeholders(&self) -> Result<(), ProfileError> {
        let Ok(root) = DeTable::parse(self.text) else {
            return Ok(());
        };
        for (name, value) in root.get_ref() {
            if name.get_ref() != "parameter" && name.get_ref() != "text" {
                self.braces(&mut vec![key(name.get_ref())], value.get_ref())?;
            }
        }
        Ok(())
    }

    fn braces(&self, path: &mut Vec<Piece>, value: &DeValue<'_>) -> Result<(), ProfileError> {
        match value {
            DeValue::String(text) => self.template(path, text),
            DeValue::Array(array) => {
                for (place, value) in array.iter().enumerate() {
                    path.push(Piece::Place(place));
                    self.braces(path, value.get_ref())?;
                    path.pop();
                }
                Ok(())
            }
            DeValue::Table(table) => {
                for (name, value) in table {
                    path.push(key(name.get_ref()));
                    self.braces(path, value.get_ref())?;
                    path.pop();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn template(&self, path: &[Piece], text: &str) -> Result<(), ProfileError> {
        let last = path.iter().rev().find_map(|piece| match piece {
            Piece::Key(key) => Some(key.as_str()),
            Piece::Place(_) => None,
        });
        let last = last.unwrap_or_default();
        if PROSE.contains(&last) {
            return Ok(());
        }
        let parts = parts(text).or_else(|error| self.fault(path, error.to_string()))?;
        for part in parts {
            let Part::Name(name) = part else { continue };
            let known = own_parameters().contains(&name) || request_parameters().contains(&name);
            if known || self.profile.text.contains_key(name) {
                continue;
            }
            match self.profile.parameter.get(name) {
                None => {
                    return self.fault(path, format!("the profile declares no parameter `{name}`"));
                }
                Some(one) if one.kind == Kind::Secret && !SECRET_PLACES.contains(&last) => {
                    return self.fault(path, format!("`{name}` is a secret: it may only stand in {SECRET_PLACES:?}, never in arguments that every user can see"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
