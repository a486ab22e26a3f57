//! What is put into pages.

use crate::page::banner::ascii;

#[test]
fn ours_is_ascii_whatever_the_names_are() {
    let tests = [
        ("<b a=\"1\">x\n\t</b>", "<b a=\"1\">x\n\t</b>"),
        ("é", "&#xE9;"),
        ("שלום 𝄞", "&#x5E9;&#x5DC;&#x5D5;&#x5DD; &#x1D11E;"),
        // Neither HTML nor XML may have these, and a reference to 0x80 would be another character.
        (
            "\0\u{1b}\u{7f}\u{80}\u{9f}\u{fffe}\u{1ffff}",
            &"&#xFFFD;".repeat(7),
        ),
    ];
    for (text, expected) in tests {
        assert_eq!(ascii(text), expected);
    }
}

#[test]
fn the_style_is_important_and_touches_nothing_but_the_banner() {
    let style = include_str!("../page.css");
    let style: String = style
        .split("/*")
        .map(|part| part.split_once("*/").map_or(part, |(_, rest)| rest))
        .collect();
    assert!(
        style
            .trim_start()
            .starts_with("@layer tower-impersonation {")
    );
    assert_eq!(style.matches('{').count(), style.matches('}').count());
    let mut rules = 0;
    for rule in style.split_inclusive('}') {
        // Of `@media (..) { selector { .. }` the innermost.
        let Some((before, declarations)) = rule.rsplit_once('{') else {
            continue;
        };
        let selectors = before.rsplit(['{', '}']).next().unwrap();
        let makes_room = selectors.contains(":has(");
        for selector in selectors.split(',') {
            assert!(selector.contains(".impersonation-banner"), "{selector}");
        }
        for declaration in declarations.trim_end_matches('}').split(';') {
            let declaration = declaration.trim();
            let is_important = declaration.is_empty() || declaration.ends_with("!important");
            // A page may say otherwise only where room is made.
            assert!(
                is_important != makes_room || declaration.is_empty(),
                "{declaration}"
            );
        }
        rules += 1;
    }
    assert!(rules > 30, "{rules} rules");
    assert!(
        !style.contains("url(") && !style.contains("@import"),
        "nothing else is loaded"
    );
}
