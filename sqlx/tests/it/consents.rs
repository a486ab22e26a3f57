//! Consents as a table, in both databases (rule S8).

use std::time::Duration;

use tower_impersonation::Consent;
use tower_impersonation_sqlx::SqlConsents;

use crate::host::{Lite, Pg, now, user};

#[tokio::test]
async fn s8_a_consent_holds_until_its_time_or_until_it_is_withdrawn() {
    let (pg, lite) = (Pg::new().await, Lite::new().await);
    let (ines, otto) = (user("ines"), user("'; drop table consents; --"));
    let (soon, later) = (
        now() + Duration::from_secs(60),
        now() + Duration::from_secs(3600),
    );
    for consents in [
        SqlConsents::new(pg.pool.clone()),
        SqlConsents::new(lite.pool.clone()),
    ] {
        let until = async |subject| consents.allowed_until(subject).await.unwrap();
        assert_eq!(until(&ines).await, None);
        assert!(!consents.withdraw(&ines).await.unwrap(), "there was none");
        consents.allow(&ines, later).await.unwrap();
        consents.allow(&otto, later).await.unwrap();
        assert_eq!(until(&ines).await, Some(later));
        consents.allow(&ines, soon).await.unwrap();
        assert_eq!(until(&ines).await, Some(soon), "the last word counts");
        assert!(consents.withdraw(&ines).await.unwrap());
        assert_eq!(until(&ines).await, None);
        assert_eq!(until(&otto).await, Some(later));
    }
    // What was allowed stays on record.
    let count = "select count(*) from impersonation.consents where user_id = 'ines'";
    let count: i64 = sqlx::query_scalar(count).fetch_one(&pg.pool).await.unwrap();
    assert_eq!(count, 2);
    let count = "select count(*) from impersonation_consents where user_id = 'ines'";
    let count: i64 = sqlx::query_scalar(count)
        .fetch_one(&lite.pool)
        .await
        .unwrap();
    assert_eq!(count, 2);
}
