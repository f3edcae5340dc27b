//! Cursor pagination: `?limit=` and `?cursor=`, newest first, without totals or offsets.
//!
//! A cursor is the id of the last item seen. Ids sort by time, so a page goes on where the last one
//! ended, however many rows have come in between.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::query::Query;

/// Items of a page when nobody says.
const LIMIT_DEFAULT: u32 = 50;

/// Most items of a page.
const LIMIT_MAX: u32 = 1000;

/// What a cursor should have been.
const CURSOR_EXPECTED: &str = "must be a next_cursor from an earlier page";

/// How a page is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described; `PageQuery` reads the real one")]
pub(crate) struct PageParams {
    /// Items of a page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageQuery {
    pub(crate) limit: u32,
    /// The page begins after this item.
    pub(crate) after: Option<Uuid>,
}

impl PageQuery {
    pub(crate) fn read(query: &mut Query) -> Self {
        let limit = limit(query);
        let after = query.parsed("cursor", CURSOR_EXPECTED, |text| Uuid::parse_str(text).ok());
        Self { limit, after }
    }

    /// The page that is meant when nothing is said.
    pub(crate) fn first() -> Self {
        Self {
            limit: LIMIT_DEFAULT,
            after: None,
        }
    }
}

/// Which page of a list in the order of names is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPageQuery {
    pub(crate) limit: u32,
    /// The page begins after this name.
    pub(crate) after: Option<String>,
}

impl NamedPageQuery {
    pub(crate) fn read(query: &mut Query) -> Self {
        let limit = limit(query);
        // Longer than other values: a name with each of its bytes in hex.
        let cursor = query.raw("cursor");
        let after = cursor.as_deref().and_then(name_of);
        if cursor.is_some() && after.is_none() {
            query.refuse("cursor", CURSOR_EXPECTED);
        }
        Self { limit, after }
    }
}

/// The limit alone, for a list with a cursor of its own.
pub(crate) fn limit(query: &mut Query) -> u32 {
    query
        .parsed("limit", "must be a number from 1 to 1000", |text| {
            text.parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        })
        .unwrap_or(LIMIT_DEFAULT)
}

/// A cursor made of a name: hex, so that it can be pasted into any URL.
fn cursor_of(name: &str) -> String {
    name.bytes().fold(String::new(), |mut hex, byte| {
        hex.extend(char::from_digit(u32::from(byte >> 4), 16));
        hex.extend(char::from_digit(u32::from(byte & 15), 16));
        hex
    })
}

fn name_of(cursor: &str) -> Option<String> {
    let digits: Option<Vec<_>> = cursor.chars().map(|digit| digit.to_digit(16)).collect();
    let bytes = digits?
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some((high << 4 | low) as u8),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    let name = String::from_utf8(bytes).ok()?;
    (!name.contains('\0') && name.chars().count() <= domain::NAME_CHARS_MAX).then_some(name)
}

/// One page of a list.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of up to `limit + 1` items read; the extra one only says that there are more.
    pub(crate) fn new(mut items: Vec<T>, limit: u32, id_of: impl Fn(&T) -> Uuid) -> Self {
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|item| id_of(item).simple().to_string());
        Self { items, next_cursor }
    }

    /// The same for a list in the order of names.
    pub(crate) fn by_name(mut items: Vec<T>, limit: u32, name_of: impl Fn(&T) -> &str) -> Self {
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|item| cursor_of(name_of(item)));
        Self { items, next_cursor }
    }

    /// The same for a list in the order of falling numbers, which are the cursor.
    pub(crate) fn by_number(mut items: Vec<T>, limit: u32, number_of: impl Fn(&T) -> u32) -> Self {
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| has_more);
        let next_cursor = last.map(|item| number_of(item).to_string());
        Self { items, next_cursor }
    }

    /// A page whose end the reader knows.
    pub(crate) fn until(items: Vec<T>, next: Option<Uuid>) -> Self {
        Self {
            items,
            next_cursor: next.map(|id| id.simple().to_string()),
        }
    }

    /// The same page, with its items as they are shown.
    pub(crate) fn map<U>(self, show: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(show).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_the_last_item_of_a_page_that_is_not_the_last() {
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();

        let page = Page::new(ids.clone(), 2, |id| *id);
        assert_eq!(page.items, [ids[0], ids[1]]);
        let mut query = Query::parse(&format!("cursor={}", page.next_cursor.unwrap()));
        assert_eq!(PageQuery::read(&mut query).after, Some(ids[1]));

        assert_eq!(Page::new(ids, 3, |id| *id).next_cursor, None);
    }

    #[test]
    fn a_cursor_of_a_name_reads_back_and_a_strange_one_is_refused() {
        let names = vec!["a&b=ю".to_owned(), "z".to_owned()];

        let cursor = Page::by_name(names, 1, |name| name).next_cursor.unwrap();

        let mut query = Query::parse(&format!("cursor={cursor}"));
        let page = NamedPageQuery::read(&mut query);
        assert_eq!(page.after.as_deref(), Some("a&b=ю"));
        for strange in ["x", "616", "ff", "00"] {
            let mut query = Query::parse(&format!("cursor={strange}"));
            NamedPageQuery::read(&mut query);
            assert!(query.finish().is_err(), "{strange}");
        }
    }

    #[test]
    fn a_limit_out_of_range_is_refused_by_name() {
        for limit in ["0", "1001", "-1", "99999999999999999999", "x"] {
            let mut query = Query::parse(&format!("limit={limit}"));
            PageQuery::read(&mut query);
            let error = query.finish().unwrap_err();
            assert_eq!(error.detail(), "/limit: must be a number from 1 to 1000");
        }
    }
}
