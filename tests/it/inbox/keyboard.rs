//! The inbox without a mouse.

use fantoccini::key::Key;

use super::{BADGE, Visit, keys};

/// What has the focus: the text of its row, or its part.
const FOCUS: &str = "
    const active = inbox.shadowRoot.activeElement;
    const row = active?.closest('li');
    const part = active?.getAttribute('part') ?? '';
    return row ? `${row.querySelector('.title').textContent} ${part}` : part;";

#[tokio::test]
async fn everything_can_be_done_from_the_keyboard() {
    let visit = Visit::begin().await;
    let browser = &visit.browser;
    for title in ["Three", "Two", "One"] {
        visit.send(title).await;
        // Toasts take the Tab key on their way, and their order is that of arrival.
        visit
            .until(&format!(
                "return inbox.shadowRoot.textContent.includes('{title}')"
            ))
            .await;
    }
    browser.shows(BADGE, "3").await;
    visit
        .look("inbox.shadowRoot.querySelector('[part=bell]').focus()")
        .await;

    browser.press(&keys(&[Key::Enter])).await;
    visit
        .until("return inbox.isOpen && titles().join() === 'One,Two,Three'")
        .await;
    assert_eq!(visit.look(FOCUS).await, "panel");
    browser.press(&keys(&[Key::Down])).await;
    assert_eq!(visit.look(FOCUS).await, "One item-body");
    browser
        .press(&keys(&[Key::Down, Key::Down, Key::Down]))
        .await;
    assert_eq!(visit.look(FOCUS).await, "Three item-body");
    browser.press(&keys(&[Key::Home])).await;
    assert_eq!(visit.look(FOCUS).await, "One item-body");

    browser.shoot("focus").await;

    // Only the current row is on the way of the Tab key.
    browser.press(&keys(&[Key::Enter])).await;
    browser.shows(BADGE, "2").await;
    browser.press(&keys(&[Key::Tab])).await;
    assert_eq!(visit.look(FOCUS).await, "One action action-read");
    browser.press(" ").await;
    browser.shows(BADGE, "3").await;
    browser.press(&keys(&[Key::Tab, Key::Enter])).await;
    visit.until("return titles().join() === 'Two,Three'").await;
    assert_eq!(visit.look(FOCUS).await, "Two item-body");
    browser.press(&keys(&[Key::Down, Key::Delete])).await;
    visit.until("return titles().join() === 'Two'").await;
    assert_eq!(visit.look(FOCUS).await, "Two item-body");
    browser.shows(BADGE, "1").await;

    browser.press(&keys(&[Key::Escape])).await;
    assert_eq!(visit.look("return inbox.isOpen").await, false);
    assert_eq!(visit.look(FOCUS).await, "bell");
}

#[tokio::test]
async fn the_panel_is_a_dialog_with_a_name_and_says_what_is_unread() {
    let visit = Visit::begin().await;
    visit.send("Named").await;
    visit.browser.shows(BADGE, "1").await;
    visit.open_panel().await;
    visit.until("return titles().join() === 'Named'").await;

    let dialog = visit
        .look(
            "const panel = $('[role=dialog]');
             return [inbox.shadowRoot.getElementById(panel.getAttribute('aria-labelledby')).textContent,
                     $('[part=bell]').getAttribute('aria-expanded'),
                     $('[part=bell]').getAttribute('aria-haspopup'),
                     $('li .sr').textContent.trim(),
                     $$('button').filter((button) => !button.hidden
                         && !(button.getAttribute('aria-label') ?? button.textContent).trim()).length]",
        )
        .await;

    assert_eq!(
        dialog,
        serde_json::json!(["Notifications", "true", "dialog", "Unread.", 0])
    );
}
