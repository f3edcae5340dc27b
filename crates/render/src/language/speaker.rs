//! The formatters of a language, kept by each thread that has spoken it.
//!
//! Making one costs tens of microseconds, using one less than one. They are not shared between
//! threads, so nothing waits for another.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use icu_decimal::options::DecimalFormatterOptions;
use icu_decimal::{DecimalFormatter, DecimalFormatterPreferences};
use icu_locale::{Locale, locale};
use icu_plurals::{PluralRules, PluralRulesPreferences};

use super::date::{DateFormatters, Style};

/// Most languages one thread keeps. Beyond it all are forgotten: their number is bounded by what
/// templates are written in, unless somebody plays with tags.
const KEPT_MAX: usize = 64;

/// One language. Each formatter is made when it is first asked for.
pub(crate) struct Speaker {
    locale: Locale,
    decimal: OnceCell<DecimalFormatter>,
    plurals: OnceCell<PluralRules>,
    dates: [OnceCell<DateFormatters>; 3],
}

impl Speaker {
    pub(crate) fn of(tag: &str) -> Rc<Self> {
        thread_local! {
            static KEPT: RefCell<HashMap<String, Rc<Speaker>>> = RefCell::default();
        }
        KEPT.with_borrow_mut(|kept| {
            if let Some(speaker) = kept.get(tag) {
                return Rc::clone(speaker);
            }
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            let speaker = Rc::new(Self::new(tag));
            kept.insert(tag.to_owned(), Rc::clone(&speaker));
            speaker
        })
    }

    fn new(tag: &str) -> Self {
        Self {
            // A tag has only the shape of one; what ICU cannot read is spoken as English.
            locale: Locale::try_from_str(tag).unwrap_or(locale!("en")),
            decimal: OnceCell::new(),
            plurals: OnceCell::new(),
            dates: [const { OnceCell::new() }; 3],
        }
    }

    /// The language alone, in lower case.
    pub(crate) fn language(&self) -> &str {
        self.locale.id.language.as_str()
    }

    pub(crate) fn decimal(&self) -> &DecimalFormatter {
        self.decimal.get_or_init(|| {
            let prefs = DecimalFormatterPreferences::from(&self.locale);
            DecimalFormatter::try_new(prefs, DecimalFormatterOptions::default())
                .expect("every language falls back to the root, which is compiled in")
        })
    }

    pub(crate) fn plurals(&self) -> &PluralRules {
        self.plurals.get_or_init(|| {
            PluralRules::try_new_cardinal(PluralRulesPreferences::from(&self.locale))
                .expect("every language falls back to the root, which is compiled in")
        })
    }

    pub(crate) fn dates(&self, style: Style) -> &DateFormatters {
        self.dates[style as usize].get_or_init(|| {
            DateFormatters::load(&self.locale, style)
                .expect("every language falls back to the root, which is compiled in")
        })
    }
}
