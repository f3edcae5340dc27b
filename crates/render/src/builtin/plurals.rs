//! What the built-in templates count, read aloud: one number for each plural form of English,
//! Russian and Arabic, and the ones that are easily taken for another.

use domain::Channel;
use serde_json::json;

use super::tests::{LOCALES, builtin, render};

const NUMBERS: [u32; 7] = [1, 2, 3, 5, 11, 21, 101];

/// Template, variable, and the sentence that counts, for each of [`NUMBERS`] in each language.
type Counted = (
    &'static str,
    &'static str,
    [[&'static str; NUMBERS.len()]; LOCALES.len()],
);

const COUNTED: &[Counted] = &[
    (
        "digest",
        "count",
        [
            [
                "1 notification",
                "2 notifications",
                "3 notifications",
                "5 notifications",
                "11 notifications",
                "21 notifications",
                "101 notifications",
            ],
            [
                "1 уведомление",
                "2 уведомления",
                "3 уведомления",
                "5 уведомлений",
                "11 уведомлений",
                "21 уведомление",
                "101 уведомление",
            ],
            [
                "إشعار واحد",
                "إشعاران",
                "3 إشعارات",
                "5 إشعارات",
                "11 إشعارًا",
                "21 إشعارًا",
                "101 إشعار",
            ],
        ],
    ),
    (
        "settlement.completed",
        "payment_count",
        [
            [
                "It covers 1 payment.",
                "It covers 2 payments.",
                "It covers 3 payments.",
                "It covers 5 payments.",
                "It covers 11 payments.",
                "It covers 21 payments.",
                "It covers 101 payments.",
            ],
            [
                "Всего 1 платёж.",
                "Всего 2 платежа.",
                "Всего 3 платежа.",
                "Всего 5 платежей.",
                "Всего 11 платежей.",
                "Всего 21 платёж.",
                "Всего 101 платёж.",
            ],
            [
                "الإجمالي: دفعة واحدة.",
                "الإجمالي: دفعتان.",
                "الإجمالي: 3 دفعات.",
                "الإجمالي: 5 دفعات.",
                "الإجمالي: 11 دفعة.",
                "الإجمالي: 21 دفعة.",
                "الإجمالي: 101 دفعة.",
            ],
        ],
    ),
    (
        "netting.cycle_completed",
        "participants",
        [
            [
                "1 participant took part.",
                "2 participants took part.",
                "3 participants took part.",
                "5 participants took part.",
                "11 participants took part.",
                "21 participants took part.",
                "101 participants took part.",
            ],
            [
                "В цикле 1 участник.",
                "В цикле 2 участника.",
                "В цикле 3 участника.",
                "В цикле 5 участников.",
                "В цикле 11 участников.",
                "В цикле 21 участник.",
                "В цикле 101 участник.",
            ],
            [
                "شملت مشاركًا واحدًا.",
                "شملت مشاركَين اثنين.",
                "شملت 3 مشاركين.",
                "شملت 5 مشاركين.",
                "شملت 11 مشاركًا.",
                "شملت 21 مشاركًا.",
                "شملت 101 مشارك.",
            ],
        ],
    ),
    (
        "netting.cycle_completed",
        "payment_count",
        [
            [
                "1 payment was netted.",
                "2 payments were netted.",
                "3 payments were netted.",
                "5 payments were netted.",
                "11 payments were netted.",
                "21 payments were netted.",
                "101 payments were netted.",
            ],
            [
                "Всего 1 платёж.",
                "Всего 2 платежа.",
                "Всего 3 платежа.",
                "Всего 5 платежей.",
                "Всего 11 платежей.",
                "Всего 21 платёж.",
                "Всего 101 платёж.",
            ],
            [
                "الإجمالي: دفعة واحدة.",
                "الإجمالي: دفعتان.",
                "الإجمالي: 3 دفعات.",
                "الإجمالي: 5 دفعات.",
                "الإجمالي: 11 دفعة.",
                "الإجمالي: 21 دفعة.",
                "الإجمالي: 101 دفعة.",
            ],
        ],
    ),
    (
        "circuit-breaker-alert",
        "failures",
        [
            [
                "1 call failed.",
                "2 calls failed.",
                "3 calls failed.",
                "5 calls failed.",
                "11 calls failed.",
                "21 calls failed.",
                "101 calls failed.",
            ],
            [
                "1 вызов завершился ошибкой.",
                "2 вызова завершились ошибкой.",
                "3 вызова завершились ошибкой.",
                "5 вызовов завершились ошибкой.",
                "11 вызовов завершились ошибкой.",
                "21 вызов завершился ошибкой.",
                "101 вызов завершился ошибкой.",
            ],
            [
                "فشل طلب واحد.",
                "فشل طلبان.",
                "فشلت 3 طلبات.",
                "فشلت 5 طلبات.",
                "فشل 11 طلبًا.",
                "فشل 21 طلبًا.",
                "فشل 101 طلب.",
            ],
        ],
    ),
    (
        "security-alert",
        "attempts",
        [
            [
                "1 sign-in attempt failed.",
                "2 sign-in attempts failed.",
                "3 sign-in attempts failed.",
                "5 sign-in attempts failed.",
                "11 sign-in attempts failed.",
                "21 sign-in attempts failed.",
                "101 sign-in attempts failed.",
            ],
            [
                "1 неудачная попытка входа.",
                "2 неудачные попытки входа.",
                "3 неудачные попытки входа.",
                "5 неудачных попыток входа.",
                "11 неудачных попыток входа.",
                "21 неудачная попытка входа.",
                "101 неудачная попытка входа.",
            ],
            [
                "رُصدت محاولة دخول فاشلة واحدة.",
                "رُصدت محاولتا دخول فاشلتان.",
                "رُصدت 3 محاولات دخول فاشلة.",
                "رُصدت 5 محاولات دخول فاشلة.",
                "رُصدت 11 محاولة دخول فاشلة.",
                "رُصدت 21 محاولة دخول فاشلة.",
                "رُصدت 101 محاولة دخول فاشلة.",
            ],
        ],
    ),
    (
        "order-shipped",
        "item_count",
        [
            [
                "Your order (1 item) is on its way.",
                "Your order (2 items) is on its way.",
                "Your order (3 items) is on its way.",
                "Your order (5 items) is on its way.",
                "Your order (11 items) is on its way.",
                "Your order (21 items) is on its way.",
                "Your order (101 items) is on its way.",
            ],
            [
                "Ваш заказ (1 товар) в пути.",
                "Ваш заказ (2 товара) в пути.",
                "Ваш заказ (3 товара) в пути.",
                "Ваш заказ (5 товаров) в пути.",
                "Ваш заказ (11 товаров) в пути.",
                "Ваш заказ (21 товар) в пути.",
                "Ваш заказ (101 товар) в пути.",
            ],
            [
                "طلبك (منتج واحد) في الطريق.",
                "طلبك (منتجان) في الطريق.",
                "طلبك (3 منتجات) في الطريق.",
                "طلبك (5 منتجات) في الطريق.",
                "طلبك (11 منتجًا) في الطريق.",
                "طلبك (21 منتجًا) في الطريق.",
                "طلبك (101 منتج) في الطريق.",
            ],
        ],
    ),
];

#[test]
fn what_is_counted_reads_right_in_every_plural_form() {
    for (name, variable, languages) in COUNTED {
        let template = builtin().get(name).unwrap();
        for (locale, sentences) in LOCALES.into_iter().zip(languages) {
            for (n, sentence) in NUMBERS.into_iter().zip(sentences) {
                // A payload's number may come as a text; the count of a digest is ours.
                let as_text = (*name != "digest").then(|| json!(n.to_string()));
                for n in std::iter::once(json!(n)).chain(as_text) {
                    let message = render(template, Channel::InApp, locale, &json!({*variable: n}));
                    let title = message.subject.unwrap_or_default();

                    let is_said = title == *sentence || message.body.contains(sentence);
                    assert!(is_said, "{name} {locale} {n}: {title:?} {:?}", message.body);
                }
            }
        }
    }
}
