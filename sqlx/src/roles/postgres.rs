//! Roles in PostgreSQL, whose functions give and take them, and what replicas tell of them.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::{Postgres, postgres::PgListener, query_scalar};
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tower_impersonation::{Impersonation, UserId};

use super::{AdminRole, RoleError, warn_not_ended};
use crate::{
    postgres::channel::{Hear, join},
    reserve::Reserve,
    statement::{Run as _, Statement},
};

pub(super) const ROLE_OF: &str =
    "select role from impersonation.admin_roles where user_id = $1 and revoked_at is null";

/// Those whose role was taken away or lowered lately, and who have not got it back.
const LOWERED: &str = "select distinct r.user_id from impersonation.admin_roles r \
     where r.revoked_at > now() - $1 * interval '1 second' and not exists ( \
       select from impersonation.admin_roles h where h.user_id = r.user_id and h.revoked_at is null \
         and impersonation.role_rank(h.role) >= impersonation.role_rank(r.role))";
/// Whether this user has a role of at least that rank.
const KEPT: &str = "select exists (select from impersonation.admin_roles \
     where user_id = $1 and revoked_at is null \
       and impersonation.role_rank(role) >= impersonation.role_rank($2))";
/// How far to look back when nothing was heard before: longer than any session should last.
const AT_FIRST: i64 = 7 * 24 * 60 * 60;
/// And further than that when the connection was lost for a while.
const MARGIN: i64 = 60;
/// What failed is tried again so often.
const RETRY: Duration = Duration::from_secs(1);

/// Gives a role.
pub(super) async fn grant(
    reserve: &Reserve<Postgres>,
    user: &UserId,
    role: AdminRole,
    by: Option<&UserId>,
) -> Result<(), RoleError> {
    let grant = Statement::new("select impersonation.grant_role($1, $2, $3)");
    let grant = grant.bind(user).bind(role.as_str());
    let grant = grant.bind(by.map(UserId::as_str));
    let granted = Postgres::execute(&mut *reserve.connection().await?, grant).await;
    granted.map(drop).map_err(not_allowed)
}

/// Takes a role away; whether there was one.
pub(super) async fn revoke(
    reserve: &Reserve<Postgres>,
    user: &UserId,
    by: &UserId,
) -> Result<bool, RoleError> {
    let revoked = query_scalar("select impersonation.revoke_role($1, $2)")
        .bind(user.as_str())
        .bind(by.as_str())
        .fetch_one(&mut *reserve.connection().await?)
        .await;
    revoked.map_err(not_allowed)
}

/// A refusal of ours, or a failure.
fn not_allowed(error: sqlx::Error) -> RoleError {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";

    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => RoleError::NotAllowed,
        _ => RoleError::Database(error),
    }
}

/// Demotes whoever lost a role, on any replica or by hand.
pub(super) async fn watch(
    reserve: Arc<Reserve<Postgres>>,
    impersonation: Impersonation,
    open: watch::Sender<bool>,
) {
    let mut lowered = Lowered {
        reserve,
        impersonation,
        heard_at: None,
        missed: None,
        unchecked: HashSet::new(),
        pending: HashSet::new(),
        open,
    };
    loop {
        let (told, mut tells) = mpsc::unbounded_channel();
        // Work of its own: the channel does not wait for sessions to be ended.
        join(&lowered.reserve, RoleEar(told));
        loop {
            match timeout(RETRY, tells.recv()).await {
                Ok(Some(told)) => lowered.hear(told),
                Ok(None) => break,
                Err(_) => {}
            }
            lowered.catch_up().await;
        }
        lowered.hear(Told::Lost);
        sleep(RETRY).await;
    }
}

/// What the channel told.
enum Told {
    Opened,
    /// This user had that role.
    Changed(String, String),
    Alive,
    Lost,
}

/// Passes on what the channel tells.
struct RoleEar(mpsc::UnboundedSender<Told>);

#[async_trait]
impl Hear for RoleEar {
    fn goes_on(&self) -> bool {
        !self.0.is_closed()
    }

    async fn opened(&mut self, _: &mut PgListener) -> Result<(), sqlx::Error> {
        self.tell(Told::Opened);
        Ok(())
    }

    async fn heard(&mut self, what: &str, _: &mut PgListener) -> Result<(), sqlx::Error> {
        let mut words = what.splitn(3, ' ');
        if let (Some("role"), Some(role), Some(user)) = (words.next(), words.next(), words.next()) {
            self.tell(Told::Changed(user.to_owned(), role.to_owned()));
        }
        Ok(())
    }

    fn alive(&mut self) {
        self.tell(Told::Alive);
    }

    fn lost(&mut self) {
        self.tell(Told::Lost);
    }
}

impl RoleEar {
    fn tell(&self, told: Told) {
        // Whoever does not watch any more goes with the next look.
        let _ = self.0.send(told);
    }
}

/// Those who lost a role, and whose sessions are not ended yet.
struct Lowered {
    reserve: Arc<Reserve<Postgres>>,
    impersonation: Impersonation,
    /// Since when something may have been missed.
    heard_at: Option<Instant>,
    /// So many seconds are to be looked back.
    missed: Option<i64>,
    /// Users, and roles that they had.
    unchecked: HashSet<(String, String)>,
    pending: HashSet<UserId>,
    open: watch::Sender<bool>,
}

impl Lowered {
    fn hear(&mut self, told: Told) {
        match told {
            Told::Opened => {
                let missed = self.heard_at.map(|at| at.elapsed().as_secs());
                let missed = missed.and_then(|seconds| i64::try_from(seconds).ok());
                let back = missed.map_or(AT_FIRST, |seconds| seconds.saturating_add(MARGIN));
                self.missed = Some(self.missed.map_or(back, |before| before.max(back)));
            }
            Told::Changed(user, role) => {
                self.unchecked.insert((user, role));
            }
            Told::Alive => {
                if self.missed.is_none() {
                    self.heard_at = Some(Instant::now());
                }
            }
            Told::Lost => {
                self.open.send_replace(false);
            }
        }
    }

    /// Looks up what is not known yet and ends what has to end. What fails stays for the next time.
    async fn catch_up(&mut self) {
        if let Err(error) = self.look_up().await {
            tracing::warn!(
                target: "tower_impersonation",
                error = &error as &dyn std::error::Error,
                "roles that were taken away are not looked up yet"
            );
        }
        for user in std::mem::take(&mut self.pending) {
            if let Err(rejection) = self.impersonation.demote(&user).await {
                warn_not_ended(&rejection);
                self.pending.insert(user);
            }
        }
    }

    async fn look_up(&mut self) -> Result<(), sqlx::Error> {
        if self.missed.is_none() && self.unchecked.is_empty() {
            return Ok(());
        }
        let mut connection = self.reserve.connection().await?;
        if let Some(seconds) = self.missed {
            let lowered = query_scalar::<_, String>(LOWERED).bind(seconds);
            let lowered = lowered.fetch_all(&mut *connection).await?;
            // What is no user id never started a session.
            let lowered = lowered.iter().filter_map(|user| user.parse().ok());
            self.pending.extend(lowered);
            self.missed = None;
            self.heard_at = Some(Instant::now());
            self.open.send_replace(true);
        }
        for (user, role) in self.unchecked.clone() {
            let kept = query_scalar::<_, bool>(KEPT).bind(&user).bind(&role);
            let kept = kept.fetch_one(&mut *connection).await?;
            if let (false, Ok(user)) = (kept, user.parse()) {
                self.pending.insert(user);
            }
            self.unchecked.remove(&(user, role));
        }
        Ok(())
    }
}
