//! The host's own people and tables: checker and directory in one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use http::request::Parts;
use tower_impersonation::{
    Access, Actor, AdminChecker, BoxError, Caller, Decision, DirectoryUser, Grant, MemoryDirectory,
    Rank, Rights, Subject, UserDirectory, UserId,
};

use super::{id, world::World};

/// One of the staff, as the host's own tables have them.
#[derive(Clone, Copy)]
pub(crate) struct Staff {
    pub(crate) rank: u32,
    pub(crate) access: Access,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) rights: Rights,
}

/// Who may what, changeable at run time. It is checker and directory at once.
#[derive(Clone)]
pub(crate) struct Cast {
    world: World,
    staff: Arc<Mutex<BTreeMap<UserId, Staff>>>,
    /// Subjects and actors to whom the checker says no.
    barred: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) users: MemoryDirectory,
}

pub(crate) const ADMIN: Staff = Staff {
    rank: 20,
    access: Access::ReadWrite,
    lifetime: None,
    rights: Rights::LIST_SESSIONS,
};
pub(crate) const SUPPORT: Staff = Staff {
    rank: 10,
    access: Access::ReadOnly,
    lifetime: Some(Duration::from_secs(30 * 60)),
    rights: Rights::LIST_SESSIONS,
};

pub(crate) fn customer(name: &str) -> DirectoryUser {
    DirectoryUser::new(id(name), Rank(0))
        .with_login(format!("{name}@shop.example"))
        .with_role("customer")
}

impl Cast {
    pub(super) fn new(world: World) -> Self {
        let root = Staff {
            rank: 30,
            rights: Rights::all(),
            ..ADMIN
        };
        let admin = Staff {
            rights: Rights::default(),
            ..ADMIN
        };
        let staff = [
            ("root", root),
            ("ada", admin),
            ("abe", admin),
            ("sam", SUPPORT),
        ];
        let users = MemoryDirectory::default();
        for (name, staff) in &staff {
            users.insert(DirectoryUser::new(id(name), Rank(staff.rank)).with_role("staff"));
        }
        for name in ["ines", "otto", "mia"] {
            users.insert(customer(name));
        }
        users.insert(customer("kim").not_impersonable_because("opted out"));
        users.insert(customer("bot").not_impersonable_because("a system account"));
        Self {
            world,
            staff: Arc::new(Mutex::new(
                staff
                    .into_iter()
                    .map(|(name, staff)| (id(name), staff))
                    .collect(),
            )),
            barred: Arc::default(),
            users,
        }
    }

    pub(crate) fn hire(&self, who: &str, staff: Staff) {
        self.staff.lock().unwrap().insert(id(who), staff);
    }

    pub(crate) fn dismiss(&self, who: &str) {
        self.staff.lock().unwrap().remove(&id(who));
    }

    /// From now on the checker denies whatever this one asks, or whoever asks for this one.
    pub(crate) fn bar(&self, who: &str) {
        self.barred.lock().unwrap().insert(who.to_owned());
    }

    fn find_staff(&self, who: &UserId) -> Option<Staff> {
        self.staff.lock().unwrap().get(who).copied()
    }
}

#[async_trait]
impl AdminChecker for Cast {
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        self.world.at("identify", "").await?;
        let Some(user) = parts.headers.get("x-user") else {
            return Ok(Caller::Anonymous);
        };
        let user: UserId = user.to_str()?.parse()?;
        Ok(match self.find_staff(&user) {
            None => Caller::User(user),
            Some(staff) => {
                Caller::Admin(Actor::new(user, Rank(staff.rank)).with_rights(staff.rights))
            }
        })
    }

    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        _: &Parts,
    ) -> Result<Decision, BoxError> {
        self.world.at("authorize", subject.as_str()).await?;
        let barred = self.barred.lock().unwrap().clone();
        if barred.contains(actor.id().as_str()) || barred.contains(subject.as_str()) {
            return Ok(Decision::deny("barred by name"));
        }
        let Some(staff) = self.find_staff(actor.id()) else {
            return Ok(Decision::deny("no staff"));
        };
        let mut grant = match staff.access {
            Access::ReadWrite => Grant::read_write(),
            _ => Grant::read_only(),
        };
        if let Some(lifetime) = staff.lifetime {
            grant = grant.with_max_lifetime(lifetime);
        }
        Ok(Decision::Allow(grant))
    }

    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        self.world.at("actor", id.as_str()).await?;
        let staff = self.find_staff(id);
        Ok(staff.map(|staff| Actor::new(id.clone(), Rank(staff.rank)).with_rights(staff.rights)))
    }
}

#[async_trait]
impl UserDirectory for Cast {
    async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError> {
        self.world.at("find", id.as_str()).await?;
        self.users.find(id).await
    }

    async fn find_by_login(&self, login: &str) -> Result<Option<DirectoryUser>, BoxError> {
        self.world.at("find_by_login", login).await?;
        self.users.find_by_login(login).await
    }

    async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<DirectoryUser>, BoxError> {
        self.world.at("search", text).await?;
        self.users.search(text, limit, offset).await
    }
}
