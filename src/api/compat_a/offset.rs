//! `?limit=` and `?offset=`: pages as system A asks for them.

use utoipa::IntoParams;

use crate::api::query::Query;

/// Items of a page when nobody says.
const LIMIT_DEFAULT: usize = 50;

/// Most items of a page.
const LIMIT_MAX: usize = 1000;

/// How deep a page may lie. What is skipped is read all the same; `/v1` has cursors for the rest.
const OFFSET_MAX: usize = 10_000;

/// How a page is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described; `OffsetQuery` reads the real one")]
pub(super) struct OffsetParams {
    /// Items of a page.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<usize>,
    /// Items before it.
    #[param(minimum = 0, maximum = 10000, default = 0)]
    offset: Option<usize>,
}

/// Which page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetQuery {
    pub(super) limit: usize,
    pub(super) offset: usize,
}

impl OffsetQuery {
    pub(super) fn read(query: &mut Query) -> Self {
        let within = |text: &str, least: usize, most: usize| {
            let number = text.parse().ok();
            number.filter(|number| (least..=most).contains(number))
        };
        let limit = query.parsed("limit", "must be a number from 1 to 1000", |text| {
            within(text, 1, LIMIT_MAX)
        });
        let offset = query.parsed(
            "offset",
            "must be a number from 0 to 10000; beyond it use /v1 and its cursor",
            |text| within(text, 0, OFFSET_MAX),
        );
        Self {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            offset: offset.unwrap_or(0),
        }
    }

    /// The items of the page, of all there are.
    pub(super) fn of<T>(self, items: impl Iterator<Item = T>) -> Vec<T> {
        items.skip(self.offset).take(self.limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_out_by_limit_and_offset() {
        let page = |text: &str| {
            let mut query = Query::parse(text);
            let page = OffsetQuery::read(&mut query);
            query.finish().map(|()| page.of(1..=60))
        };

        assert_eq!(page("").unwrap().len(), 50);
        assert_eq!(page("limit=2&offset=3").unwrap(), [4, 5]);
        assert_eq!(page("offset=59").unwrap(), [60]);
        assert!(page("offset=10000").unwrap().is_empty());
        for bad in ["limit=0", "limit=1001", "offset=-1", "offset=10001"] {
            assert!(page(bad).is_err(), "{bad}");
        }
    }
}
