//! The wiring: who is staff, whom they may act as, and what the shop sees then. The only file that had to be
//! written to give the shop impersonation.

use std::time::Duration;

use async_trait::async_trait;
use http::request::Parts;
use tower_impersonation::{
    ActingAs, Actor, AdminChecker, BoxError, Caller, ConfigError, Decision, DirectoryUser, Grant,
    Impersonation, Rank, Rights, Subject, UserDirectory, UserId, audit::JsonLines, token::Tokens,
};

use crate::{
    auth::CurrentUser,
    database::Database,
    pages,
    settings::{MarkerRemoved, OnActive, Settings, UnmarkedWrites},
    shop::{Role, Shop, User},
};

/// How long support may act at most; everyone else has the crate's own ceiling.
const SUPPORT_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The shop's users as the crate asks for them.
struct Staff(Shop);

struct Directory(Shop);

pub(crate) fn set_up(
    settings: &Settings,
    shop: &Shop,
    database: &Database,
    file: JsonLines,
) -> Result<Impersonation, ConfigError> {
    let control_path = settings.control_path.clone();
    let mut builder = database
        .impersonation(Staff(shop.clone()), file)
        .directory(Directory(shop.clone()))
        // Another process may delete or promote a user, and nobody tells.
        .directory_cache(Duration::ZERO)
        .starts_per_hour(settings.starts_per_hour)
        .control_path(&settings.control_path)
        .tokens(Tokens::hs256(
            "support-desk",
            "shop",
            "1",
            &settings.token_secret,
        ))
        .console_path("/admin")
        .exclude("/demo")
        // Nobody's data, and browsers may keep it: whose page asks for it does not matter.
        .exclude("/desk.css")
        .exclude("/desk.js")
        .exclude("/login")
        .exclude("/logout")
        .protect("/account/password")
        .after_stop("/admin")
        .sticky_marker()
        .rejection_response(move |rejection, parts| pages::refusal(rejection, parts, &control_path))
        .assume(|acting_as| async move { Ok(Some(assumed(&acting_as)?)) });
    if settings.on_active == OnActive::Replace {
        builder = builder.replace_active();
    }
    if settings.unmarked_writes == UnmarkedWrites::Refuse {
        builder = builder.refuse_unmarked_writes();
    }
    if settings.marker_removed == MarkerRemoved::End {
        builder = builder.end_when_marker_removed();
    }
    builder.build()
}

/// The user that the shop's handlers find on an acted request, in place of the admin.
fn assumed(acting_as: &ActingAs) -> Result<CurrentUser, BoxError> {
    match acting_as.subject() {
        Subject::User(_) => {
            let user = acting_as.user().and_then(DirectoryUser::data::<User>);
            let user = user.ok_or("the directory gave no record of the user")?;
            Ok(CurrentUser::Person(user.clone()))
        }
        Subject::Anonymous => Ok(CurrentUser::Visitor),
        Subject::Service => Ok(CurrentUser::Service),
        other => Err(format!("the shop does not know what `{other}` is").into()),
    }
}

// === who may ===

#[async_trait]
impl AdminChecker for Staff {
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        let Some(CurrentUser::Person(user)) = parts.extensions.get() else {
            return Ok(Caller::Anonymous);
        };
        // What may be remembered is who it is; the role is as the database has it now.
        match self.0.user(&user.id).await? {
            Some(user) if user.role.is_staff() => Ok(Caller::Admin(actor(&user)?)),
            _ => Ok(Caller::User(user.id.parse()?)),
        }
    }

    async fn authorize(&self, actor: &Actor, _: &Subject, _: &Parts) -> Result<Decision, BoxError> {
        // Ranks, opt-outs and the right to the service role are compared by the crate.
        Ok(match actor.role().and_then(Role::given) {
            Some(Role::Superadmin | Role::Admin) => Decision::Allow(Grant::read_write()),
            Some(Role::Support) => {
                Decision::Allow(Grant::read_only().with_max_lifetime(SUPPORT_LIFETIME))
            }
            _ => Decision::deny("not on the staff"),
        })
    }

    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        let user = self.0.user(id.as_str()).await?;
        let staff = user.filter(|user| user.role.is_staff());
        staff.as_ref().map(actor).transpose()
    }
}

fn actor(user: &User) -> Result<Actor, BoxError> {
    let rights = match user.role {
        Role::Superadmin => Rights::all(),
        Role::Admin if user.leads => Rights::LIST_SESSIONS | Rights::READ_TRAIL,
        _ => Rights::default(),
    };
    Ok(Actor::new(user.id.parse()?, Rank(user.role.rank()))
        .with_login(user.email.as_str())
        .with_role(user.role.as_str())
        .with_rights(rights))
}

// === as whom ===

#[async_trait]
impl UserDirectory for Directory {
    async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError> {
        self.0.user(id.as_str()).await?.map(entry).transpose()
    }

    async fn find_by_login(&self, login: &str) -> Result<Option<DirectoryUser>, BoxError> {
        self.0.user_by_login(login).await?.map(entry).transpose()
    }

    async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<DirectoryUser>, BoxError> {
        let text = text.to_lowercase();
        let has_it = |user: &User| {
            [&user.id, &user.name, &user.email]
                .iter()
                .any(|field| field.to_lowercase().contains(&text))
        };
        let found = self.0.users().await?.into_iter().filter(has_it);
        found.skip(offset).take(limit).map(entry).collect()
    }
}

fn entry(user: User) -> Result<DirectoryUser, BoxError> {
    let entry = DirectoryUser::new(user.id.parse()?, Rank(user.role.rank()))
        .with_login(user.email.as_str())
        .with_display_name(user.name.as_str())
        .with_role(user.role.as_str());
    let entry = match why_not(&user) {
        Some(reason) => entry.not_impersonable_because(reason),
        None => entry,
    };
    Ok(entry.with_data(user))
}

/// Why nobody may act as this user, whatever their rank.
fn why_not(user: &User) -> Option<&'static str> {
    match user {
        _ if user.role == Role::System => Some("system account"),
        _ if user.opted_out => Some("has opted out of support access"),
        _ => None,
    }
}
