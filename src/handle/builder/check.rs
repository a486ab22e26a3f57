//! What the settings may not be.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{
    Builder,
    names::{CARRIES_THE_REQUEST, OWN_PARAMETERS, OWN_PREFIXES, RESERVED, RESERVED_PREFIXES},
};
use crate::{
    engine::SessionSettings,
    host::{Place, TypePlace},
    policy::{PathPattern, Routes},
    request::Sources,
    words::{ActingAs, ConfigError},
};

impl Builder {
    pub(super) fn check_places(&self) -> Result<(), ConfigError> {
        let places = &self.answers.places;
        for (setting, path) in [
            ("after_start", &places.after_start),
            ("after_stop", &places.after_stop),
        ] {
            if !path.starts_with('/') || HeaderValue::try_from(path).is_err() {
                return Err(invalid(
                    setting,
                    "must be a path on this host, such as `/orders`",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn checked_sources(&self) -> Result<Sources, ConfigError> {
        if self.markers.query.is_none() && self.markers.header.is_none() {
            return Err(ConfigError::NoMarkerSource);
        }
        if self.watch.sticky && self.markers.query.is_none() {
            return Err(invalid(
                "sticky_marker",
                "needs a marker in the URL, see `query_parameter`",
            ));
        }
        if let Some(name) = &self.markers.query {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if name.is_empty() || !name.bytes().all(fine) {
                return Err(invalid(
                    "query_parameter",
                    "must be one or more ASCII letters, digits or -._~",
                ));
            }
            let places = &self.answers.places;
            let has_pages = places.control.is_some() || places.console.is_some();
            if has_pages && OWN_PARAMETERS.contains(&name.as_str()) {
                return Err(invalid(
                    "query_parameter",
                    "is a parameter of the control API or of the console",
                ));
            }
        }
        let header = self.markers.header.as_deref().map(|name| {
            let name = name.to_ascii_lowercase();
            let reserved = RESERVED.contains(&&*name)
                || RESERVED_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
            if reserved {
                return Err(invalid("header", "is reserved for something else"));
            }
            HeaderName::try_from(name).map_err(|_| invalid("header", "is no header name"))
        });
        let header = header.transpose()?;
        let base = header.as_ref().map_or("act-as", HeaderName::as_str);
        let reason = HeaderName::try_from(format!("{base}-reason"))
            .map_err(|_| invalid("header", "is too long"))?;
        Ok(Sources::new(self.markers.query.as_deref(), header, reason))
    }

    pub(super) fn checked_routes(&self) -> Result<Routes, ConfigError> {
        let pattern = |setting, path: &String| {
            PathPattern::parse(path).ok_or_else(|| {
                invalid(
                    setting,
                    "must be a plain path such as `/account/password`, with `*` for any one segment and \
                     without `%`, `\\`, dots or `{}`",
                )
            })
        };
        let all = |setting, paths: &[String]| {
            let parsed = paths.iter().map(|path| pattern(setting, path));
            parsed.collect::<Result<Vec<_>, _>>()
        };
        let mut excluded = all("exclude", &self.paths.excluded)?;
        let places = &self.answers.places;
        for (setting, path) in [
            ("control_path", &places.control),
            ("console_path", &places.console),
        ] {
            let Some(path) = path else { continue };
            excluded.push(pattern(setting, path)?);
            if path.contains('*') {
                return Err(invalid(setting, "is one place and cannot hold `*`"));
            }
        }
        let reads = self.paths.reads.iter().map(|(method, path)| {
            let pattern = pattern("read_route", path)?;
            Ok((method.clone(), pattern))
        });
        Ok(Routes {
            excluded,
            protected: all("protect", &self.paths.protected)?,
            reads: reads.collect::<Result<_, _>>()?,
        })
    }

    /// How handlers see the subject (rule R14).
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
                return Err(ConfigError::Conflict {
                    setting,
                    other,
                    problem,
                });
            }
            match place {
                Place::Type(_) if *place == Place::Type(TypePlace::of::<ActingAs>()) => {
                    return Err(invalid(setting, "must not replace `ActingAs`"));
                }
                Place::Type(_) => {}
                Place::Header(name) => self.check_assumed_header(setting, name)?,
            }
        }
        let from_data = all.iter().find(|assume| assume.setting == "assume_data");
        match from_data {
            Some(assume) if self.host.directory.is_none() => Err(ConfigError::Needs {
                setting: assume.setting,
                value: None,
                needs: "directory",
            }),
            _ => Ok(()),
        }
    }

    fn check_assumed_header(
        &self,
        setting: &'static str,
        name: &HeaderName,
    ) -> Result<(), ConfigError> {
        let name = name.as_str();
        let marker = self.markers.header.as_deref().map(str::to_ascii_lowercase);
        // With what stands behind it, such as `-reason`.
        let is_markers = marker.is_some_and(|marker| name.starts_with(&marker));
        let problem = if is_markers || OWN_PREFIXES.iter().any(|own| name.starts_with(own)) {
            "must not be the header of a marker or of a token"
        } else if CARRIES_THE_REQUEST.contains(&name) {
            "must not be a header that carries the request itself"
        } else {
            return Ok(());
        };
        Err(ConfigError::invalid_value(setting, name, problem))
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
            if time.is_zero() {
                return Err(invalid(setting, "must not be zero"));
            }
            if time > LONGEST {
                return Err(invalid(setting, "must not be longer than a year"));
            }
        }
        let counts = [
            ("max_active", limits.active, 1),
            ("starts_per_hour", limits.starts_per_hour as usize, 1),
            ("audit_queue", self.trail.queue, 16),
        ];
        for (setting, count, least) in counts {
            if count < least {
                return Err(invalid(setting, &format!("must be at least {least}")));
            }
        }
        if self.trail.queue > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(invalid("audit_queue", "is too large"));
        }
        Ok(())
    }
}

fn invalid(setting: &'static str, problem: &str) -> ConfigError {
    ConfigError::invalid(setting, problem)
}
