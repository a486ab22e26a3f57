//! What the settings may not be: each by itself, then those that disagree.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{
    Builder, Part,
    names::{CARRIES_THE_REQUEST, OWN_PARAMETERS, OWN_PREFIXES, RESERVED, RESERVED_PREFIXES},
};
use crate::{
    audit::FanOut,
    engine::SessionSettings,
    host::{Place, TypePlace},
    policy::{PathPattern, Routes},
    request::Sources,
    words::{ActingAs, ConfigError, shown},
};

/// A path and the setting that it comes from.
type Named<'b> = (&'static str, &'b str);

impl Builder {
    /// Where browsers are sent.
    pub(super) fn check_places(&self) -> Result<(), ConfigError> {
        let places = &self.answers.places;
        for (setting, path) in [
            ("after_start", &places.after_start),
            ("after_stop", &places.after_stop),
        ] {
            // For a browser both would be another host.
            let leads_away = path.starts_with("//") || path.starts_with(r"/\");
            if !path.starts_with('/') || leads_away || HeaderValue::try_from(path).is_err() {
                let problem = "must be a path on this host, such as `/orders`";
                return Err(ConfigError::invalid_value(setting, path, problem));
            }
        }
        Ok(())
    }

    pub(super) fn checked_sources(&self) -> Result<Sources, ConfigError> {
        let query = self.markers.query.as_deref();
        if query.is_none() && self.markers.header.is_none() {
            return Err(ConfigError::NoMarkerSource);
        }
        match query {
            Some(name) => self.check_parameter(name)?,
            None if self.watch.sticky => {
                return Err(conflict(
                    "sticky_marker",
                    "without_query_parameter",
                    "`sticky_marker` needs a marker in the URL: `without_query_parameter` takes it out",
                ));
            }
            None => {}
        }
        let header = self.markers.header.as_deref().map(header_name);
        let header = header.transpose()?;
        let base = header.as_ref().map_or("act-as", HeaderName::as_str);
        let reason = HeaderName::try_from(format!("{base}-reason"))
            .map_err(|_| ConfigError::invalid_value("header", base, "is too long"))?;
        Ok(Sources::new(query, header, reason))
    }

    fn check_parameter(&self, name: &str) -> Result<(), ConfigError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().all(fine) {
            let problem = "must be one or more ASCII letters, digits or -._~";
            return Err(ConfigError::invalid_value("query_parameter", name, problem));
        }
        let Some((other, path)) = self.own_pages().next() else {
            return Ok(());
        };
        if OWN_PARAMETERS.contains(&name) {
            let problem = format!("is a parameter of the pages below {}", call(other, path));
            let this = call("query_parameter", name);
            return Err(conflict(
                "query_parameter",
                other,
                format!("{this} {problem}"),
            ));
        }
        Ok(())
    }

    /// Where our own pages are mounted.
    fn own_pages(&self) -> impl Iterator<Item = Named<'_>> {
        let places = &self.answers.places;
        let control = places.control.as_deref();
        let control = control.map(|path| ("control_path", path));
        let console = places.console.as_deref();
        let console = console.map(|path| ("console_path", path));
        control.into_iter().chain(console)
    }

    /// Everything that runs as the actor.
    fn excluded(&self) -> impl Iterator<Item = Named<'_>> {
        let excluded = self.paths.excluded.iter();
        let excluded = excluded.map(|path| ("exclude", path.as_str()));
        let log_out = self.paths.log_out.as_deref();
        let log_out = log_out.map(|path| ("log_out_path", path));
        excluded.chain(self.own_pages()).chain(log_out)
    }

    pub(super) fn checked_routes(&self) -> Result<Routes, ConfigError> {
        let mut excluded = Vec::new();
        for (setting, path) in self.excluded() {
            excluded.push(pattern(setting, path)?);
            if setting != "exclude" && path.contains('*') {
                let problem = "is one place and cannot hold `*`";
                return Err(ConfigError::invalid_value(setting, path, problem));
            }
        }
        let protected = self.paths.protected.iter();
        let protected = protected.map(|path| pattern("protect", path));
        let reads = self.paths.reads.iter().map(|(method, path)| {
            let pattern = pattern("read_route", path)?;
            Ok((method.clone(), pattern))
        });
        Ok(Routes {
            excluded,
            protected: protected.collect::<Result<_, _>>()?,
            reads: reads.collect::<Result<_, _>>()?,
        })
    }

    /// Paths that disagree. Each is fine by itself.
    pub(super) fn check_paths(&self) -> Result<(), ConfigError> {
        let places = &self.answers.places;
        if let (Some(control), Some(console)) = (&places.control, &places.console)
            && covers(control, console)
            && covers(console, control)
        {
            let (control, console) = (call("control_path", control), call("console_path", console));
            let problem = format!("{console} is the same path as {control}");
            return Err(conflict("console_path", "control_path", problem));
        }
        let no_effect = |(setting, inner): Named<'_>, (other, outer): Named<'_>| {
            let (this, that) = (call(setting, inner), call(other, outer));
            let problem = format!("{this} has no effect: {that} covers it");
            Err(conflict(setting, other, problem))
        };
        let protected = || {
            let all = self.paths.protected.iter();
            all.map(|path| ("protect", path.as_str()))
        };
        for inner in protected() {
            if let Some(outer) = self.excluded().find(|outer| covers(outer.1, inner.1)) {
                return no_effect(inner, outer);
            }
        }
        for (_, path) in &self.paths.reads {
            let inner = ("read_route", path.as_str());
            let mut outer = self.excluded().chain(protected());
            if let Some(outer) = outer.find(|outer| covers(outer.1, path)) {
                return no_effect(inner, outer);
            }
        }
        let mut ways_out = self
            .excluded()
            .filter(|(setting, _)| *setting != "log_out_path");
        if self.watch.writes && ways_out.next().is_none() {
            return Err(conflict(
                "refuse_unmarked_writes",
                "control_path",
                "`refuse_unmarked_writes` would also refuse the request that ends a session: set `control_path`, or \
                 `exclude` the path where sessions are ended",
            ));
        }
        Ok(())
    }

    /// How handlers see the subject (rule [R14](crate::rules#r14)).
    pub(super) fn check_handlers(&self) -> Result<(), ConfigError> {
        let all = &self.host.assume;
        if all.is_empty() && !self.host.handlers_read {
            return Err(ConfigError::HandlersUndecided);
        }
        for (at, assume) in all.iter().enumerate() {
            let (setting, place) = (assume.setting, &assume.place);
            if let Some(earlier) = all[..at].iter().find(|earlier| earlier.place == *place) {
                let other = earlier.setting;
                let problem = format!("`{other}` and `{setting}` both replace {place}");
                return Err(conflict(setting, other, problem));
            }
            match place {
                Place::Type(_) if *place == Place::Type(TypePlace::of::<ActingAs>()) => {
                    return Err(ConfigError::invalid(setting, "must not replace `ActingAs`"));
                }
                Place::Type(_) => {}
                Place::Header(name) => self.check_assumed_header(setting, name.as_str())?,
            }
        }
        Ok(())
    }

    fn check_assumed_header(&self, setting: &'static str, name: &str) -> Result<(), ConfigError> {
        let marker = self.markers.header.as_deref();
        // With what stands behind it, such as `-reason`.
        let is_markers =
            marker.is_some_and(|marker| name.starts_with(&marker.to_ascii_lowercase()));
        let problem = if is_markers || OWN_PREFIXES.iter().any(|own| name.starts_with(own)) {
            "must not be the header of a marker or of a token"
        } else if CARRIES_THE_REQUEST.contains(&name) {
            "must not be a header that carries the request itself"
        } else {
            return Ok(());
        };
        Err(ConfigError::invalid_value(setting, name, problem))
    }

    /// Settings that do nothing without a part that is not there.
    pub(super) fn check_needs(&self) -> Result<(), ConfigError> {
        let is_there = |part| match part {
            Part::Directory => self.host.directory.is_some(),
            Part::Sessions => self.sessions.is_some(),
        };
        let missing = self.needs.iter().find(|need| !is_there(need.part));
        missing.map_or(Ok(()), |need| {
            Err(ConfigError::Needs {
                setting: need.setting,
                value: need.value.clone(),
                needs: match need.part {
                    Part::Directory => "directory",
                    Part::Sessions => "sessions",
                },
            })
        })
    }

    pub(super) fn check_numbers(&self) -> Result<(), ConfigError> {
        let SessionSettings {
            limits,
            max_lifetime,
            idle_timeout,
        } = self.session_settings;
        let times = [
            ("max_lifetime", max_lifetime),
            ("idle_timeout", idle_timeout),
            ("check_timeout", self.host.calls.timeout),
            ("audit_timeout", self.trail.timeout),
        ];
        /// A year: more than anyone means, and no sum of times overflows.
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        for (setting, time) in times {
            let problem = match time {
                Duration::ZERO => "must not be zero",
                _ if time > LONGEST => "must not be longer than a year",
                _ => continue,
            };
            return Err(ConfigError::invalid_value(setting, time, problem));
        }
        if self.fans_out && self.trail.timeout <= FanOut::PATIENCE {
            let problem = "must be longer than the second that a `FanOut` gives each sink";
            let timeout = self.trail.timeout;
            return Err(ConfigError::invalid_value(
                "audit_timeout",
                timeout,
                problem,
            ));
        }
        let counts = [
            ("max_active", limits.active, 1),
            ("starts_per_hour", limits.starts_per_hour as usize, 1),
            ("audit_queue", self.trail.queue, 16),
        ];
        for (setting, count, least) in counts {
            if count < least {
                let problem = format!("must be at least {least}");
                return Err(ConfigError::invalid_value(setting, count, problem));
            }
        }
        let (queue, most) = (self.trail.queue, tokio::sync::Semaphore::MAX_PERMITS);
        if queue > most {
            let problem = format!("must be at most {most}");
            return Err(ConfigError::invalid_value("audit_queue", queue, problem));
        }
        Ok(())
    }
}

fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    let lower = name.to_ascii_lowercase();
    let mut families = RESERVED_PREFIXES.iter();
    if RESERVED.contains(&&*lower) || families.any(|prefix| lower.starts_with(prefix)) {
        let problem = "is reserved for something else";
        return Err(ConfigError::invalid_value("header", name, problem));
    }
    let named = HeaderName::try_from(lower);
    named.map_err(|_| ConfigError::invalid_value("header", name, "is not a header name"))
}

fn pattern(setting: &'static str, path: &str) -> Result<PathPattern, ConfigError> {
    PathPattern::parse(path).ok_or_else(|| {
        let problem = "must be a plain path such as `/account/password`, with `*` for any one segment and without \
                       `%`, `\\`, dots or `{}`";
        ConfigError::invalid_value(setting, path, problem)
    })
}

/// Whether `inner` and everything below it is at or below `outer`.
fn covers(outer: &str, inner: &str) -> bool {
    let mut below = segments(inner);
    segments(outer).all(|outer| {
        let fits = |inner| outer == "*" || outer == inner;
        below.next().is_some_and(fits)
    })
}

fn segments(path: &str) -> std::str::Split<'_, char> {
    path.trim_matches('/').split('/')
}

fn conflict(setting: &'static str, other: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Conflict {
        setting,
        other,
        problem: problem.into(),
    }
}

/// A setting with its value, as the host wrote it.
fn call(setting: &str, value: &str) -> String {
    format!("`{setting}({})`", shown(&value))
}
