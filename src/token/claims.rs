//! What a token says, and what it may not say.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{BadToken, MAX_ACT_DEPTH};
use crate::words::{Access, Session, SessionId, Subject, UserId};

/// As they stand in the token.
#[derive(Serialize, Deserialize)]
pub(super) struct RawClaims {
    iss: String,
    aud: String,
    sub: Subject,
    #[serde(default)]
    role: Option<String>,
    act: Value,
    sid: SessionId,
    access: Access,
    iat: i64,
    /// We sign none. Who else signs with our key may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    exp: i64,
    jti: Uuid,
}

/// As they are used, once they are verified.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    pub(crate) subject: Subject,
    pub(crate) actor: UserId,
    pub(crate) session: SessionId,
    /// The token's own.
    pub(crate) id: Uuid,
    pub(crate) access: Access,
    pub(crate) role: Option<String>,
    /// Unix seconds. Before this it is not good.
    pub(crate) good_from: i64,
    pub(crate) expires_at: i64,
}

impl RawClaims {
    pub(super) fn of(
        session: &Session,
        iss: String,
        aud: String,
        iat: i64,
        exp: i64,
        jti: Uuid,
    ) -> Self {
        Self {
            iss,
            aud,
            sub: session.subject.clone(),
            role: session.role.as_deref().map(str::to_owned),
            act: serde_json::json!({ "sub": session.actor }),
            sid: session.id,
            access: session.access,
            iat,
            nbf: None,
            exp,
            jti,
        }
    }

    pub(super) fn read(self) -> Result<Claims, BadToken> {
        let actor = outermost(&self.act)?;
        if self.sub.user_id() == Some(&actor) {
            return Err(BadToken::Oneself);
        }
        Ok(Claims {
            subject: self.sub,
            actor,
            session: self.sid,
            id: self.jti,
            access: self.access,
            role: self.role,
            good_from: self.nbf.map_or(self.iat, |nbf| nbf.max(self.iat)),
            expires_at: self.exp,
        })
    }
}

/// The actor of a chain: the outermost. The others are history (RFC 8693, section 4.1), which must be well-formed and
/// not too long.
fn outermost(act: &Value) -> Result<UserId, BadToken> {
    let actor_of = |act: &Value| {
        let sub = act.as_object()?.get("sub")?.as_str()?;
        sub.parse::<UserId>().ok()
    };
    let actor = actor_of(act).ok_or(BadToken::Act)?;
    let mut earlier = act.get("act");
    for _ in 1..MAX_ACT_DEPTH {
        let Some(act) = earlier else { break };
        actor_of(act).ok_or(BadToken::Act)?;
        earlier = act.get("act");
    }
    match earlier {
        Some(_) => Err(BadToken::ActDepth),
        None => Ok(actor),
    }
}

/// A session to try the keys with. It is nobody's and stands in no store.
pub(super) fn of_a_trial(now: OffsetDateTime) -> Session {
    let actor = UserId::from(0_u64);
    let end = now + std::time::Duration::from_secs(60);
    Session::new(
        SessionId(Uuid::nil()),
        actor,
        Subject::Anonymous,
        "trial",
        now,
        end,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn an_act_is_bounded_and_only_its_outermost_decides() {
        struct Test {
            act: Value,
            result: Result<&'static str, BadToken>,
        }
        let nested = |depth: usize| {
            (1..depth).fold(
                json!({ "sub": "last" }),
                |act, n| json!({ "sub": format!("a{n}"), "act": act }),
            )
        };
        let tests = [
            Test {
                act: json!({ "sub": "ada" }),
                result: Ok("ada"),
            },
            Test {
                act: json!({ "sub": "ada", "iss": "x" }),
                result: Ok("ada"),
            },
            Test {
                act: json!({ "sub": "ada", "act": { "sub": "root" } }),
                result: Ok("ada"),
            },
            Test {
                act: nested(MAX_ACT_DEPTH),
                result: Ok("a3"),
            },
            Test {
                act: nested(MAX_ACT_DEPTH + 1),
                result: Err(BadToken::ActDepth),
            },
            Test {
                act: nested(100),
                result: Err(BadToken::ActDepth),
            },
            Test {
                act: json!("ada"),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!(["ada"]),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!(null),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!({}),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!({ "sub": 7 }),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!({ "sub": "" }),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!({ "sub": "~anon" }),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!({ "sub": "ada", "act": "root" }),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!({ "sub": "ada", "act": null }),
                result: Err(BadToken::Act),
            },
            Test {
                act: json!({ "sub": "ada", "act": {} }),
                result: Err(BadToken::Act),
            },
        ];
        for Test { act, result } in tests {
            let found = outermost(&act).map(|actor| actor.to_string());
            assert_eq!(found, result.map(str::to_owned), "{act}");
        }
    }
}
