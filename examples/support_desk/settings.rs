//! What can be set, from the environment.

use std::{env, ffi::OsString, fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use uuid::Uuid;

/// The first parts of the shop's own paths: the control API cannot be mounted there.
const TAKEN: &[&str] = &[
    "account", "admin", "api", "demo", "desk.css", "desk.js", "login", "logout", "orders", "shop",
];

/// What HS256 needs at least.
const SECRET_BYTES: usize = 32;

#[derive(Clone)]
pub(crate) struct Settings {
    /// `ADDR`: where to listen. Default: 127.0.0.1:3000.
    pub(crate) addr: SocketAddr,
    /// `DATABASE_URL`: where users, orders, sessions and the trail are kept. Default: sqlite://support_desk.sqlite.
    /// May hold a password, so it is never shown.
    pub(crate) database_url: String,
    /// `AUDIT_FILE`: where the trail goes as well, as lines of JSON. Default: ./support_desk.audit.jsonl.
    pub(crate) audit_file: PathBuf,
    /// `CONTROL_PATH`: where the control API is mounted. Default: /impersonation.
    pub(crate) control_path: String,
    /// `ON_ACTIVE`: what becomes of a second start. Default: refuse.
    pub(crate) on_active: OnActive,
    /// `UNMARKED_WRITES`: what becomes of writes without a marker by someone who acts. Default: pass.
    pub(crate) unmarked_writes: UnmarkedWrites,
    /// `MARKER_REMOVED`: what typing an address without the marker does to the session. Default: keep.
    pub(crate) marker_removed: MarkerRemoved,
    /// `STARTS_PER_HOUR`: starts per admin. Default: 10.
    pub(crate) starts_per_hour: u32,
    /// `TOKEN_SECRET`: signs the acting tokens, and is the same for all processes that take each other's. Never shown.
    /// Default: another one with each start, so that no token outlives the process.
    pub(crate) token_secret: Vec<u8>,
}

/// What becomes of a start while another session is active (rule S2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnActive {
    /// It is refused.
    Refuse,
    /// It ends the active one.
    Replace,
}

/// What becomes of writes without a marker while whoever sends them acts as someone (rule R20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnmarkedWrites {
    /// They are the actor's own.
    Pass,
    /// They are refused.
    Refuse,
}

/// What typing an address without the marker does to the session (rule R20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MarkerRemoved {
    /// Nothing.
    Keep,
    /// It ends.
    End,
}

/// A variable whose value cannot be used.
#[derive(Debug)]
pub(crate) struct BadSetting {
    name: &'static str,
    value: OsString,
    wanted: &'static str,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn from_env() -> Result<Self, BadSetting> {
        Ok(Self {
            addr: parsed(
                "ADDR",
                "127.0.0.1:3000",
                "an address with a port, such as 127.0.0.1:3000",
            )?,
            database_url: env::var("DATABASE_URL").or_else(|problem| match problem {
                env::VarError::NotPresent => Ok("sqlite://support_desk.sqlite".to_owned()),
                env::VarError::NotUnicode(_) => Err(BadSetting {
                    name: "DATABASE_URL",
                    value: "(not text)".into(),
                    wanted: "sqlite://… or postgres://…",
                }),
            })?,
            audit_file: read("AUDIT_FILE", "./support_desk.audit.jsonl", "a path", |p| {
                (!p.is_empty()).then(|| p.into())
            })?,
            control_path: read(
                "CONTROL_PATH",
                "/impersonation",
                "a path of letters, digits, `-` and `_` that the shop does not use itself, such as /impersonation",
                |path| Some(path.to_str().filter(|path| is_free(path))?.to_owned()),
            )?,
            on_active: parsed("ON_ACTIVE", "refuse", "`refuse` or `replace`")?,
            unmarked_writes: parsed("UNMARKED_WRITES", "pass", "`pass` or `refuse`")?,
            marker_removed: parsed("MARKER_REMOVED", "keep", "`keep` or `end`")?,
            starts_per_hour: read("STARTS_PER_HOUR", "10", "a whole number from 1", |text| {
                text.to_str()?.parse().ok().filter(|starts| *starts > 0)
            })?,
            token_secret: match env::var_os("TOKEN_SECRET") {
                None => {
                    // Two of them: 244 bits from the operating system.
                    [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat()
                }
                Some(secret) if secret.len() >= SECRET_BYTES => secret.into_encoded_bytes(),
                Some(_) => {
                    return Err(BadSetting {
                        name: "TOKEN_SECRET",
                        value: "(shorter)".into(),
                        wanted: "at least 32 bytes that nobody can guess",
                    });
                }
            },
        })
    }
}

/// The variable's value, or that of `default` where it is not set.
fn read<T>(
    name: &'static str,
    default: &str,
    wanted: &'static str,
    read: impl Fn(&OsString) -> Option<T>,
) -> Result<T, BadSetting> {
    let value = env::var_os(name).unwrap_or_else(|| default.into());
    read(&value).ok_or(BadSetting {
        name,
        value,
        wanted,
    })
}

fn parsed<T: FromStr>(
    name: &'static str,
    default: &str,
    wanted: &'static str,
) -> Result<T, BadSetting> {
    read(name, default, wanted, |text| text.to_str()?.parse().ok())
}

/// Plain segments only: what a router, a browser and a reader of the log all take for the same path.
fn is_free(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let plain = |segment: &str| {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !segment.is_empty() && segment.bytes().all(fine)
    };
    let first = rest.split('/').next().unwrap_or_default();
    rest.split('/').all(plain) && !TAKEN.contains(&first)
}

impl FromStr for OnActive {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "replace" => Ok(Self::Replace),
            _ => Err(()),
        }
    }
}

impl FromStr for UnmarkedWrites {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "pass" => Ok(Self::Pass),
            "refuse" => Ok(Self::Refuse),
            _ => Err(()),
        }
    }
}

impl FromStr for MarkerRemoved {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "keep" => Ok(Self::Keep),
            "end" => Ok(Self::End),
            _ => Err(()),
        }
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value,
            wanted,
        } = self;
        write!(f, "{name} must be {wanted}, not {value:?}")
    }
}
