//! What the host sets: the words and their language, a template of its own, the parts and their place.

use tower_impersonation_web::page as with_banner;
use tower_impersonation_web::page::{Position, Wording};

use super::{PAGE, acting_desk, answer, html, ours, shown, text};
use crate::support::{get, with};

#[tokio::test]
async fn the_words_follow_the_language_of_the_actor() {
    let desk = acting_desk().await;
    let page = with_banner(&desk.handle).with_wording(|language| {
        let mut words = Wording::english();
        if language.is_some_and(|language| language.starts_with("he")) {
            words.language = "he".into();
            words.right_to_left = true;
            words.exit = "יציאה".into();
        }
        words
    });
    let language = [("accept-language", "he-IL, en;q=0.5")];
    let request = with(get("ada", "/?as=ines"), &language);
    let shown_to_ada = text(answer(&desk, page.clone(), request, html(PAGE)).await).await;
    assert!(
        shown_to_ada.contains("lang=\"he\" dir=\"rtl\""),
        "{shown_to_ada}"
    );
    let exit = "&#x5D9;&#x5E6;&#x5D9;&#x5D0;&#x5D4;</button>";
    assert!(shown_to_ada.contains(exit), "{shown_to_ada}");
    assert!(
        shown(&desk, page, PAGE)
            .await
            .contains("lang=\"en\" dir=\"ltr\"")
    );
}

#[tokio::test]
async fn a_template_replaces_the_banner_and_what_it_breaks_is_caught() {
    let desk = acting_desk().await;
    let own = with_banner(&desk.handle).with_template(|view| {
        format!(
            "<b {}>é {} {}</b>",
            view.root_attributes(),
            view.html.subject,
            view.plain.actor
        )
    });
    let page = shown(&desk, own, "<body>|").await;
    assert!(page.contains("dir=\"ltr\">&#xE9; ines ada</b>|"), "{page}");
    assert!(!page.contains("<aside"), "{page}");

    let (_, banner) = ours(&desk).await;
    let broken = [
        with_banner(&desk.handle).with_template(|_| panic!("a template")),
        with_banner(&desk.handle).with_wording(|_| panic!("a wording")),
    ];
    for page in broken {
        let page = shown(&desk, page, PAGE).await;
        assert!(page.contains(&banner), "{page}");
    }
}

#[tokio::test]
async fn either_part_can_be_left_out_and_the_place_be_chosen() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let (style, script) = head.split_at(head.find("<script").unwrap());

    let page = shown(
        &desk,
        with_banner(&desk.handle).without_script(),
        "<head></head><body>",
    )
    .await;
    assert_eq!(page, format!("<head>{style}</head><body>{banner}"));
    let page = shown(
        &desk,
        with_banner(&desk.handle).without_banner(),
        "<head></head><body>",
    )
    .await;
    assert_eq!(page, format!("<head>{script}</head><body>"));
    let page = with_banner(&desk.handle).without_banner().without_script();
    assert_eq!(shown(&desk, page, PAGE).await, PAGE);

    let page = shown(
        &desk,
        with_banner(&desk.handle).with_position(Position::Bottom),
        "<body>",
    )
    .await;
    assert!(
        page.contains("class=\"impersonation-banner impersonation-banner-at-bottom\""),
        "{page}"
    );
}
