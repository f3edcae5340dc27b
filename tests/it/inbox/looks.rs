//! Languages, directions, colours, sizes and the preferences panel.

use serde_json::json;

use super::{BADGE, BELL, Visit};

impl Visit {
    /// A list with something of everything in it.
    async fn furnish(&self) {
        for body in [
            json!({"subject": "Weekly report", "content": "Your report for week 47 is ready.",
                   "category": "reports", "data": {"url": "/docs/"}}),
            json!({"subject": "Order filled", "content": "Your order for 5 ACME was filled at 101.20.",
                   "category": "trading"}),
            json!({"subject": "Margin call", "content": "Deposit 12 000 EUR by 16:00, or positions \
                   will be closed. This text is long enough to be cut in the list, so that one sees \
                   where the cut is made and that the rows do not grow without an end when somebody \
                   has very much to say about very little, line after line after line.",
                   "category": "risk", "priority": "critical"}),
            json!({"subject": "تمت العملية", "content": "تم تنفيذ طلبك بنجاح.", "category": "trading"}),
            json!({"content": "Only a message, without a title."}),
        ] {
            let before = self.look("return inbox.unread").await;
            self.send_with(body).await;
            self.until(&format!("return inbox.unread > {before}")).await;
        }
    }
}

#[tokio::test]
async fn arabic_runs_from_right_to_left() {
    let visit = Visit::begin().await;
    visit.furnish().await;
    visit
        .look("document.documentElement.lang = 'ar'; inbox.locale = 'ar'")
        .await;
    visit.open_panel().await;
    visit.until("return $$('li').length === 5").await;

    let found = visit
        .look(
            "const row = $('li').getBoundingClientRect();
             const dot = $('li .dot').getBoundingClientRect();
             return [getComputedStyle($('[part=panel]')).direction, $('h2').textContent,
                     dot.left > row.left + row.width / 2,
                     $('[part=bell]').getAttribute('aria-label')]",
        )
        .await;
    assert_eq!(
        found,
        json!(["rtl", "الإشعارات", true, "الإشعارات، 5 إشعارات غير مقروءة"])
    );
    visit.browser.shoot("arabic").await;
}

#[tokio::test]
async fn russian_has_a_form_for_one_for_few_and_for_many() {
    let visit = Visit::begin().await;
    visit.look("inbox.locale = 'ru'").await;

    visit.send_many(4).await;
    visit
        .until("return $('[part=toast-more]')?.textContent === 'Ещё 1 уведомление'")
        .await;
    visit.send_many(1).await;
    visit
        .until("return $('[part=toast-more]').textContent === 'Ещё 2 уведомления'")
        .await;
    visit.send_many(3).await;
    visit
        .until("return $('[part=toast-more]').textContent === 'Ещё 5 уведомлений'")
        .await;

    let label = visit
        .look("return $('[part=bell]').getAttribute('aria-label')")
        .await;
    assert_eq!(label, "Уведомления, 8 непрочитанных");
    visit.browser.shoot("toasts").await;
}

#[tokio::test]
async fn it_is_dark_where_the_system_or_the_page_is_and_takes_the_pages_colours() {
    let visit = Visit::begin().await;
    visit.furnish().await;
    visit.open_panel().await;
    visit.until("return $$('li').length === 5").await;
    let background = "return getComputedStyle($('[part=panel]')).backgroundColor";
    assert_eq!(visit.look(background).await, "rgb(255, 255, 255)");
    visit.browser.shoot("light").await;

    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    visit
        .browser
        .devtools("Emulation.setEmulatedMedia", dark)
        .await;
    assert_eq!(visit.look(background).await, "rgb(27, 29, 33)");
    visit.browser.shoot("dark").await;
    visit.look("inbox.setAttribute('theme', 'light')").await;
    assert_eq!(visit.look(background).await, "rgb(255, 255, 255)");
    visit
        .look("inbox.style.setProperty('--postrider-background', 'rgb(1, 2, 3)')")
        .await;
    assert_eq!(visit.look(background).await, "rgb(1, 2, 3)");
}

#[tokio::test]
async fn on_a_phone_the_panel_is_the_screen() {
    let visit = Visit::begin().await;
    visit.furnish().await;
    let phone = json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true});
    visit
        .browser
        .devtools("Emulation.setDeviceMetricsOverride", phone)
        .await;
    visit.browser.shoot("phone-toasts").await;

    visit.browser.click(BELL).await;
    visit.until("return $$('li').length === 5").await;

    let size = visit
        .look(
            "const panel = $('[part=panel]').getBoundingClientRect();
             return [panel.left, panel.top, panel.width, panel.height,
                     document.documentElement.scrollWidth]",
        )
        .await;
    assert_eq!(size, json!([0, 0, 360, 740, 360]));
    visit.browser.shoot("phone").await;
}

#[tokio::test]
async fn preferences_are_saved_as_they_are_changed() {
    let visit = Visit::begin().await;
    visit.furnish().await;
    visit.open_panel().await;
    visit.until("return $$('li').length === 5").await;
    let browser = &visit.browser;
    browser.click("postrider-inbox >>> [part~=settings]").await;
    browser
        .find("postrider-inbox >>> [data-key='channels/email']")
        .await;
    visit.browser.shoot("preferences").await;

    // The times of quiet hours are for those who keep them.
    let times = "return $$('[type=time]').map((time) => time.disabled).join()";
    assert_eq!(visit.look(times).await, "true,true");
    let gap = visit
        .look(
            "const text = document.createRange();
             text.selectNodeContents($('h2'));
             return text.getBoundingClientRect().left
                 - $('[part~=back]').getBoundingClientRect().right",
        )
        .await;
    assert!(gap.as_f64().unwrap() >= 8.0, "{gap} px after the arrow");

    for key in ["channels/email", "categories/risk", "quiet/enabled"] {
        browser
            .click(&format!("postrider-inbox >>> [data-key='{key}']"))
            .await;
        visit
            .until("return $('[part=preferences-status]').textContent === 'Saved'")
            .await;
    }
    assert_eq!(visit.look(times).await, "false,false");
    visit
        .look(
            "const set = (key, value) => {
                 const field = $(`[data-key='${key}']`);
                 field.value = value;
                 field.dispatchEvent(new Event('change'));
             };
             set('quiet/start', '21:30'); set('timezone', 'Europe/Berlin'); set('locale', 'ru');",
        )
        .await;

    let wanted = testkit::eventually(crate::SOON, async || {
        let path = "/v1/users/ada/preferences";
        let preferences = visit.house.front.get(path).await.expect(200);
        (preferences["locale"] == "ru").then_some(preferences)
    })
    .await;
    assert_eq!(wanted["channels"]["email"]["enabled"], false);
    assert_eq!(wanted["categories"]["risk"]["enabled"], false);
    assert_eq!(wanted["quiet_hours"]["enabled"], true);
    assert_eq!(wanted["quiet_hours"]["start"], "21:30");
    assert_eq!(wanted["timezone"], "Europe/Berlin");

    let tall = json!({"width": 600, "height": 1100, "deviceScaleFactor": 1, "mobile": false});
    visit
        .browser
        .devtools("Emulation.setDeviceMetricsOverride", tall)
        .await;
    visit
        .look("inbox.style.setProperty('--postrider-height', '64rem')")
        .await;
    visit.browser.shoot("preferences-all").await;

    // They are there again, and so is the list.
    browser.client().refresh().await.unwrap();
    visit.is_live().await;
    browser.shows(BADGE, "5").await;
    visit.open_panel().await;
    browser.click("postrider-inbox >>> [part~=settings]").await;
    visit
        .until("return $(\"[data-key='channels/email']\")?.checked === false")
        .await;
    browser.click("postrider-inbox >>> [part~=back]").await;
    visit.until("return $$('li').length === 5").await;
}

#[tokio::test]
async fn an_empty_inbox_says_so() {
    let visit = Visit::begin().await;

    visit.open_panel().await;

    visit
        .until("return $('[part=empty]').textContent.includes('Nothing here yet')")
        .await;
    visit.browser.shoot("empty").await;
}
