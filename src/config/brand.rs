//! The settings of the brand: whose notifications these are, as a mail shows it.

use render::Brand;

use super::Config;
use super::check::Wrong;
use super::tree::section;

/// Longest text of the brand, in characters.
const TEXT_CHARS_MAX: usize = 500;

section! {
    /// Whose notifications these are: `brand` in templates, and in the layout around mails.
    pub struct BrandConfig {
        /// The sender's name.
        pub name: String = Brand::default().name,
        /// The accent of mails, as `#rrggbb`.
        pub color: String = Brand::default().color,
        /// An image for the head of mails, over https.
        pub logo_url: Option<String> = None,
        /// Where the name and the logo lead.
        pub url: Option<String> = None,
        /// A postal address for the foot of mails. Many laws ask for one.
        pub address: Option<String> = None,
    }
}

impl Config {
    /// Whose notifications these are.
    pub fn brand(&self) -> Brand {
        let brand = &self.brand;
        Brand {
            name: brand.name.clone(),
            color: brand.color.clone(),
            logo_url: brand.logo_url.clone(),
            url: brand.url.clone(),
            address: brand.address.clone(),
        }
    }

    pub(super) fn check_brand(&self, wrong: &mut Vec<Wrong>) {
        let brand = &self.brand;
        let mut refuse = |path: &'static str, detail: &str| wrong.push((path, detail.to_owned()));
        if brand.name.trim().is_empty() {
            refuse("brand.name", "must not be empty");
        }
        if !is_color(&brand.color) {
            refuse("brand.color", "must be a color such as #1f4e79");
        }
        // A mail shows no other images, and a link must not run anything.
        let is_web = |url: &str, schemes: &[&str]| {
            let has_host = |rest: &str| !rest.is_empty() && !rest.contains(char::is_whitespace);
            schemes
                .iter()
                .any(|scheme| url.strip_prefix(scheme).is_some_and(has_host))
        };
        if let Some(logo) = &brand.logo_url
            && !is_web(logo, &["https://"])
        {
            refuse("brand.logo_url", "must begin with https://");
        }
        if let Some(url) = &brand.url
            && !is_web(url, &["https://", "http://"])
        {
            refuse("brand.url", "must begin with https:// or http://");
        }
        for (path, text) in [
            ("brand.name", Some(&brand.name)),
            ("brand.logo_url", brand.logo_url.as_ref()),
            ("brand.url", brand.url.as_ref()),
            ("brand.address", brand.address.as_ref()),
        ] {
            if text.is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX) {
                refuse(path, "must have at most 500 characters");
            }
        }
    }
}

fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brand_that_a_mail_cannot_show_is_refused() {
        let wrong = |change: fn(&mut BrandConfig)| {
            let mut config = Config::default();
            change(&mut config.brand);
            let mut wrong = Vec::new();
            config.check_brand(&mut wrong);
            wrong.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };

        assert!(wrong(|_| {}).is_empty());
        assert_eq!(wrong(|brand| brand.name = " ".into()), ["brand.name"]);
        assert_eq!(wrong(|brand| brand.color = "red".into()), ["brand.color"]);
        let script = |brand: &mut BrandConfig| brand.url = Some("javascript:alert(1)".into());
        assert_eq!(wrong(script), ["brand.url"]);
        let plain = |brand: &mut BrandConfig| brand.logo_url = Some("http://x/logo.png".into());
        assert_eq!(wrong(plain), ["brand.logo_url"]);
        let long = |brand: &mut BrandConfig| brand.address = Some("x".repeat(501));
        assert_eq!(wrong(long), ["brand.address"]);
    }
}
