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
        let limit = query
            .parsed("limit", "must be a number from 1 to 1000", |text| {
                text.parse()
                    .ok()
                    .filter(|limit| (1..=LIMIT_MAX).contains(limit))
            })
            .unwrap_or(LIMIT_DEFAULT);
        let after = query.parsed(
            "cursor",
            "must be a next_cursor from an earlier page",
            |text| Uuid::parse_str(text).ok(),
        );
        Self { limit, after }
    }
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
    fn a_limit_out_of_range_is_refused_by_name() {
        for limit in ["0", "1001", "-1", "99999999999999999999", "x"] {
            let mut query = Query::parse(&format!("limit={limit}"));
            PageQuery::read(&mut query);
            let error = query.finish().unwrap_err();
            assert_eq!(error.detail(), "/limit: must be a number from 1 to 1000");
        }
    }
}
