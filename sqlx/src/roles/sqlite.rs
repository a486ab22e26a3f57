//! Roles in SQLite. Nobody but the process that takes a role away tells of it.

use sqlx::Sqlite;
use time::OffsetDateTime;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tower_impersonation::{Impersonation, UserId};

use super::{AdminRole, RoleError, role_of, warn_not_ended};
use crate::{
    reserve::Reserve,
    statement::{Run as _, Statement},
    transaction::Transaction,
};

pub(super) const ROLE_OF: &str =
    "select role from impersonation_admin_roles where user_id = $1 and revoked_at is null";

/// Gives a role.
pub(super) async fn grant(
    reserve: &Reserve<Sqlite>,
    user: &UserId,
    role: AdminRole,
    by: Option<&UserId>,
) -> Result<(), RoleError> {
    let mut transaction = reserve.begin().await?;
    if !may_grant(&mut transaction, by).await? {
        transaction.rollback().await?;
        return Err(RoleError::NotAllowed);
    }
    let before = role_of::<Sqlite>(&mut transaction, ROLE_OF, user).await?;
    if before == Some(role) {
        return Ok(transaction.rollback().await?);
    }
    let now = OffsetDateTime::now_utc();
    transaction.execute(taking(user, by, now)).await?;
    let grant = Statement::new(
        "insert into impersonation_admin_roles (user_id, role, granted_by, granted_at) \
         values ($1, $2, $3, $4)",
    );
    let grant = grant.bind(user).bind(role.as_str());
    let grant = grant.bind(by.map(UserId::as_str)).bind(now);
    transaction.execute(grant).await?;
    transaction.commit().await?;
    if before > Some(role) {
        reserve.shared().tell(user);
    }
    Ok(())
}

/// Takes a role away; whether there was one.
pub(super) async fn revoke(
    reserve: &Reserve<Sqlite>,
    user: &UserId,
    by: &UserId,
) -> Result<bool, RoleError> {
    let mut transaction = reserve.begin().await?;
    if !may_grant(&mut transaction, Some(by)).await? {
        transaction.rollback().await?;
        return Err(RoleError::NotAllowed);
    }
    let taking = taking(user, Some(by), OffsetDateTime::now_utc());
    let revoked = transaction.execute(taking).await? > 0;
    transaction.commit().await?;
    if revoked {
        reserve.shared().tell(user);
    }
    Ok(revoked)
}

/// Demotes whoever this process took a role from.
pub(super) async fn watch(
    mut lowered: broadcast::Receiver<UserId>,
    impersonation: Impersonation,
    open: watch::Sender<bool>,
) {
    open.send_replace(true);
    loop {
        match lowered.recv().await {
            Ok(user) => {
                if let Err(rejection) = impersonation.demote(&user).await {
                    warn_not_ended(&rejection);
                }
            }
            // They end with their next request.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

async fn may_grant(
    transaction: &mut Transaction<Sqlite>,
    by: Option<&UserId>,
) -> Result<bool, sqlx::Error> {
    let Some(by) = by else {
        let any = Statement::new("select 1 from impersonation_admin_roles limit 1");
        return Ok(Sqlite::rows(transaction, any).await?.is_empty());
    };
    let role = role_of::<Sqlite>(transaction, ROLE_OF, by).await?;
    Ok(role == Some(AdminRole::Superadmin))
}

fn taking<'u>(user: &'u UserId, by: Option<&'u UserId>, now: OffsetDateTime) -> Statement<'u> {
    let taking = Statement::new(
        "update impersonation_admin_roles set revoked_at = $2, revoked_by = $3 \
         where user_id = $1 and revoked_at is null",
    );
    taking.bind(user).bind(now).bind(by.map(UserId::as_str))
}
