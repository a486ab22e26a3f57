//! [`SessionDialect`]: what sessions have to know of a database.

use std::{future::Future, sync::Arc};

use sqlx::error::DatabaseError;
use time::OffsetDateTime;
use tower_impersonation::session::SessionId;

use super::ChangeListeners;
use crate::{reserve::Reserve, trail::TrailDialect};

/// What sessions have to know of a database.
pub trait SessionDialect: TrailDialect {
    /// The statements, as this database says them.
    const SESSIONS: SessionWords;

    /// How changes that other processes make come in.
    type News: News<Self>;

    /// Whether this error says that there is an open session of this actor for this subject.
    fn is_second(error: &dyn DatabaseError) -> bool;

    /// Notes when these sessions were last seen.
    fn touch_all(
        reserve: &Reserve<Self>,
        seen: &[(SessionId, OffsetDateTime)],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// How changes that other processes make come in.
pub trait News<D: SessionDialect>: Send + Sync + 'static {
    /// For the stores of this reserve; nothing comes in yet.
    fn new(reserve: Arc<Reserve<D>>) -> Self;

    /// Tells these listeners from now on.
    fn tell(&self, listeners: &Arc<ChangeListeners>);

    /// Goes on with that where it was broken off.
    fn keep_telling(&self, listeners: &Arc<ChangeListeners>);

    /// Whether everything comes in now.
    fn is_complete(&self) -> bool;

    /// Waits until no other process serves from memory what this one has just changed by a connection of `reserve`
    /// (rule S9).
    fn heard_by_all(
        &self,
        reserve: &Reserve<D>,
        listeners: &Arc<ChangeListeners>,
    ) -> impl Future<Output = ()> + Send;
}

/// The statements about sessions, as a database says them.
#[derive(Debug)]
pub struct SessionWords {
    /// Makes others wait that start a session of the actor `$1`, until the transaction ends. Where
    /// [`Dialect::BEGIN`](crate::dialect::Dialect::BEGIN) does that already, there is none.
    pub(crate) lock: Option<&'static str>,
    pub(crate) insert: &'static str,
    /// By id.
    pub(crate) get: &'static str,
    /// Of the actor `$1` for the subject `$2`, not over by itself at `$3`.
    pub(crate) active: &'static str,
    /// Of the actor `$1`, not ended yet, oldest first.
    pub(crate) open: &'static str,
    /// The newest `$3` starts of the actor `$1` after `$2`.
    pub(crate) starts: &'static str,
    /// Ends `$1` at `$2` for the reason `$3`, if it is still open; whether it is due does not matter. `$4`: the
    /// event of the end is written in the same transaction.
    pub(crate) close: &'static str,
    /// The same, if it is active then. Neither this nor what follows it in its transaction waits for a lock for more
    /// than a second, where others could hold one for long.
    pub(crate) end: &'static str,
    /// Ends at most `$2` that are due at `$1`.
    pub(crate) end_due: &'static str,
    /// The oldest `$2` that ended before `$1` and whose event may be missing.
    pub(crate) unconfirmed: &'static str,
    /// The start of a list of ended sessions whose event is there.
    pub(crate) confirm: &'static str,
    /// Spends the refresh token `$2` of `$1`, if that goes on.
    pub(crate) spend: &'static str,
    /// Changes access to `$3` and end to `$4` of `$1`, if it is active at `$2`.
    pub(crate) update: &'static str,
    /// The start of a list.
    pub(crate) select: &'static str,
    /// The start of a count.
    pub(crate) count: &'static str,
    /// When `$1` started.
    pub(crate) started_at: &'static str,
}

/// The statements about sessions, with the table's name and what a database says in its own way.
macro_rules! session_words {
    (table: $table:literal, spent: $spent:literal, lock: $lock:expr, share: $share:literal,
     patient: ($patient:literal, $is_patient:literal), least: $least:literal, microseconds: $us:literal,
     due: ($before:literal, $after:literal)) => {
        $crate::sessions::SessionWords {
            lock: $lock,
            insert: concat!(
                "insert into ",
                $table,
                " (id, actor, actor_rank, subject, kind, role, access, reason, ticket, \
                   started_at, expires_at, idle_us, last_seen_at, due_at, address, user_agent) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
            ),
            get: concat!(
                "select ",
                session_columns!(),
                " from ",
                $table,
                " where id = $1"
            ),
            active: concat!(
                "select ",
                session_columns!(),
                " from ",
                $table,
                " \
                 where actor = $1 and subject = $2 and ended_at is null and expires_at > $3"
            ),
            open: concat!(
                "select ",
                session_columns!(),
                " from ",
                $table,
                " \
                 where actor = $1 and ended_at is null order by started_at, id"
            ),
            starts: concat!(
                "select started_at from ",
                $table,
                " where actor = $1 and started_at > $2 \
                 order by started_at desc limit $3"
            ),
            close: concat!(
                "update ",
                $table,
                " set ended_at = $2, ended_reason = $3, end_confirmed = $4 \
                 where id = $1 and ended_at is null"
            ),
            end: concat!(
                $patient,
                "update ",
                $table,
                " set ended_at = $2, ended_reason = $3, end_confirmed = $4 \
                 where id = $1 and ended_at is null and due_at > $2",
                $is_patient,
                " returning ",
                session_columns!()
            ),
            end_due: concat!(
                "update ",
                $table,
                " set ended_at = due_at, \
                   ended_reason = case when due_at < expires_at then 'idle' else 'timeout' end \
                 where ended_at is null and id ",
                $before,
                "select id from ",
                $table,
                " \
                   where ended_at is null and due_at <= $1 order by due_at limit $2",
                $after,
                " returning ",
                session_columns!()
            ),
            unconfirmed: concat!(
                "select ",
                session_columns!(),
                " from ",
                $table,
                " \
                 where ended_at < $1 and ended_at is not null and not end_confirmed \
                 order by ended_at, id limit $2"
            ),
            confirm: concat!(
                "update ",
                $table,
                " set end_confirmed = true \
                 where ended_at is not null and not end_confirmed and id in ("
            ),
            spend: concat!(
                "insert into ",
                $spent,
                " (session, token) \
                 select id, $2 from ",
                $table,
                " where id = $1 and ended_at is null",
                $share,
                " on conflict do nothing"
            ),
            update: concat!(
                "update ",
                $table,
                " set access = coalesce($3, access), \
                   expires_at = coalesce($4, expires_at), \
                   due_at = ",
                $least,
                "(coalesce($4, expires_at), \
                     coalesce(last_seen_at + idle_us",
                $us,
                ", $4, expires_at)) \
                 where id = $1 and ended_at is null and due_at > $2 returning ",
                session_columns!()
            ),
            select: concat!("select ", session_columns!(), " from ", $table, " where "),
            count: concat!(
                "select count(*) as total from (select 1 from ",
                $table,
                " where "
            ),
            started_at: concat!("select started_at from ", $table, " where id = $1"),
        }
    };
}

pub(crate) use session_words;
