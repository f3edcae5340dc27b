//! How a section of settings is written once and read, listed and documented from there.
//!
//! [`section!`] declares a struct with its defaults. What it makes of it is an [`Outline`]: every
//! setting with its path (`retry.email.attempts`), its text of documentation and a way to set it.
//! The file, the environment, `config show` and the generated document all work on that list.

use serde_json::Value;

use super::setting::Setting;

/// What a source says about a setting: the environment only has texts, a file more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// A setting that can be given a value and shows the one it has.
pub(super) trait Slot {
    /// The error says what was expected.
    fn set(&mut self, given: &Given) -> Result<(), String>;

    /// What people may see of the value: nothing of a secret.
    fn show(&self) -> Value;

    /// Whether an empty text says that there is no value.
    fn can_be_unset(&self) -> bool;
}

impl<T: Setting> Slot for T {
    fn set(&mut self, given: &Given) -> Result<(), String> {
        *self = match given {
            Given::Text(text) => T::read(text)?,
            Given::List(items) => T::read_list(items)?,
            Given::Map(entries) => T::read_map(entries)?,
        };
        Ok(())
    }

    fn show(&self) -> Value {
        Setting::show(self)
    }

    fn can_be_unset(&self) -> bool {
        T::CAN_BE_UNSET
    }
}

/// One setting of the tree.
pub(super) struct Entry<'a> {
    /// As in the file, with dots between the levels.
    pub(super) path: String,
    pub(super) doc: &'static str,
    /// The name other tools set it by.
    pub(super) alias: Option<&'static str>,
    pub(super) slot: &'a mut dyn Slot,
}

/// A section of the tree, before its settings.
pub(super) struct Heading {
    pub(super) path: String,
    pub(super) about: &'static str,
}

/// The tree, flat: headings and settings in the order of their declaration.
#[derive(Default)]
pub(super) struct Outline<'a> {
    pub(super) headings: Vec<Heading>,
    pub(super) entries: Vec<Entry<'a>>,
}

impl<'a> Outline<'a> {
    pub(super) fn of(tree: &'a mut impl Tree) -> Self {
        let mut outline = Self::default();
        tree.outline(Place::root(), &mut outline);
        outline
    }

    pub(super) fn is_section(&self, path: &str) -> bool {
        self.headings.iter().any(|heading| heading.path == path)
    }

    pub(super) fn find(&mut self, path: &str) -> Option<&mut Entry<'a>> {
        self.entries.iter_mut().find(|entry| entry.path == path)
    }

    /// The setting or section whose path is most like `path`, if one is like it at all.
    pub(super) fn nearest(&self, path: &str) -> Option<&str> {
        let headings = self.headings.iter().map(|heading| &heading.path);
        let entries = self.entries.iter().map(|entry| &entry.path);
        let path = path.to_ascii_lowercase();
        let alike = |known: &&String| strsim::damerau_levenshtein(known, &path);
        headings
            .chain(entries)
            .filter(|known| !known.is_empty())
            .map(|known| (alike(&known), known))
            // Beyond a third of its letters another word is meant.
            .filter(|(distance, known)| distance * 3 <= known.len())
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known.as_str())
    }
}

/// Where in the tree something is, and what its declaration says of it.
pub(super) struct Place {
    path: String,
    doc: &'static str,
    alias: Option<&'static str>,
}

impl Place {
    fn root() -> Self {
        Self {
            path: String::new(),
            doc: "",
            alias: None,
        }
    }

    pub(super) fn below(&self, key: &str, doc: &'static str, alias: Option<&'static str>) -> Self {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Self { path, doc, alias }
    }

    /// The heading of the section that is here; `about` is what the section says of itself.
    pub(super) fn heading(&self, about: &'static str) -> Heading {
        Heading {
            path: self.path.clone(),
            about: if self.doc.is_empty() { about } else { self.doc },
        }
    }
}

/// A setting, or a section of them.
pub(super) trait Tree {
    /// Adds everything from here on to `outline`.
    fn outline<'a>(&'a mut self, place: Place, outline: &mut Outline<'a>);
}

impl<T: Setting> Tree for T {
    fn outline<'a>(&'a mut self, place: Place, outline: &mut Outline<'a>) {
        outline.entries.push(Entry {
            path: place.path,
            doc: place.doc,
            alias: place.alias,
            slot: self,
        });
    }
}

/// Declares one section: its struct, its defaults, and its part of the outline.
///
/// `=> "NAME"` after a default is the name that other tools set the setting by.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                pub $key:ident: $kind:ty = $default:expr $(=> $alias:literal)?,
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[doc = $doc])* pub $key: $kind, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        impl $crate::config::tree::Tree for $name {
            fn outline<'a>(
                &'a mut self,
                place: $crate::config::tree::Place,
                outline: &mut $crate::config::tree::Outline<'a>,
            ) {
                outline.headings.push(place.heading(concat!($($about, "\n"),*)));
                $(
                    let aliases: &[&'static str] = &[$($alias)?];
                    let doc = concat!($($doc, "\n"),*);
                    let inner = place.below(stringify!($key), doc, aliases.first().copied());
                    self.$key.outline(inner, outline);
                )*
            }
        }
    };
}

pub(super) use section;
