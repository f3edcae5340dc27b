//! What changed between two texts, line by line.

/// A line, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
    /// So many lines that stayed are not shown.
    Skipped(usize),
}

/// Lines shown around a change.
const AROUND: usize = 3;

/// Pairs of lines compared at most. Beyond that everything between the first and the last change
/// is shown as gone and new.
const PAIRS_MAX: usize = 1_000_000;

/// The lines of `new`, with those of `old` that are gone where they stood.
pub(super) fn lines<'a>(old: &'a str, new: &'a str) -> Vec<Line<'a>> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let both = || old.iter().zip(&new);
    let head = both().take_while(|(old, new)| old == new).count();
    let rest = old.len().min(new.len()) - head;
    let tails = old.iter().rev().zip(new.iter().rev()).take(rest);
    let tail = tails.take_while(|(old, new)| old == new).count();
    let old_middle = old.get(head..old.len() - tail).unwrap_or_default();
    let new_middle = new.get(head..new.len() - tail).unwrap_or_default();
    let mut all: Vec<_> = new.iter().take(head).map(|line| Line::Same(line)).collect();
    all.extend(middle(old_middle, new_middle));
    let end = new.iter().skip(new.len() - tail);
    all.extend(end.map(|line| Line::Same(line)));
    fold(all)
}

/// By the longest common subsequence.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    let (mut from_old, mut from_new) = (old.iter().peekable(), new.iter().peekable());
    if old.len().saturating_mul(new.len()) <= PAIRS_MAX {
        let width = new.len() + 1;
        let mut longest = vec![0_u32; (old.len() + 1) * width];
        let at = |longest: &[u32], row: usize, column: usize| {
            longest.get(row * width + column).copied().unwrap_or(0)
        };
        for (row, old_line) in old.iter().enumerate().rev() {
            for (column, new_line) in new.iter().enumerate().rev() {
                let value = if old_line == new_line {
                    at(&longest, row + 1, column + 1) + 1
                } else {
                    at(&longest, row + 1, column).max(at(&longest, row, column + 1))
                };
                if let Some(place) = longest.get_mut(row * width + column) {
                    *place = value;
                }
            }
        }
        let (mut row, mut column) = (0, 0);
        while let (Some(old_line), Some(new_line)) = (from_old.peek(), from_new.peek()) {
            if old_line == new_line {
                lines.push(Line::Same(new_line));
                from_old.next();
                from_new.next();
                (row, column) = (row + 1, column + 1);
            } else if at(&longest, row + 1, column) >= at(&longest, row, column + 1) {
                lines.push(Line::Gone(old_line));
                from_old.next();
                row += 1;
            } else {
                lines.push(Line::New(new_line));
                from_new.next();
                column += 1;
            }
        }
    }
    lines.extend(from_old.map(|line| Line::Gone(line)));
    lines.extend(from_new.map(|line| Line::New(line)));
    lines
}

/// Leaves out what stayed far from any change.
fn fold(all: Vec<Line<'_>>) -> Vec<Line<'_>> {
    let is_same = |line: &Line<'_>| matches!(line, Line::Same(_));
    let mut folded = Vec::with_capacity(all.len());
    let runs: Vec<_> = all
        .chunk_by(|one, other| is_same(one) == is_same(other))
        .collect();
    let last = runs.len().saturating_sub(1);
    for (place, run) in runs.iter().enumerate() {
        let before = if place == 0 { 0 } else { AROUND };
        let after = if place == last { 0 } else { AROUND };
        if run.iter().all(is_same) && run.len() > before + after + 1 {
            folded.extend(run.iter().take(before).copied());
            folded.push(Line::Skipped(run.len() - before - after));
            folded.extend(run.iter().skip(run.len() - after).copied());
        } else {
            folded.extend(run.iter().copied());
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_stands_where_it_changed() {
        let found = lines("a\nb\nc\nd", "a\nx\nc\nd\ne");
        assert_eq!(
            found,
            [
                Line::Same("a"),
                Line::Gone("b"),
                Line::New("x"),
                Line::Same("c"),
                Line::Same("d"),
                Line::New("e"),
            ]
        );
        assert_eq!(lines("", "a"), [Line::New("a")]);
        assert_eq!(lines("a", ""), [Line::Gone("a")]);
        assert_eq!(lines("", ""), []);
    }

    /// So many lines, each a word and its number.
    fn numbered(word: &str, count: usize) -> String {
        let lines: Vec<_> = (0..count).map(|line| format!("{word}{line}\n")).collect();
        lines.concat()
    }

    #[test]
    fn what_stayed_is_folded_and_nothing_is_lost() {
        let old = numbered("", 100);
        let new = old.replace("50\n", "fifty\n");

        let found = lines(&old, &new);

        assert_eq!(found.first(), Some(&Line::Skipped(47)));
        assert_eq!(found.last(), Some(&Line::Skipped(46)));
        assert!(found.contains(&Line::Gone("50")) && found.contains(&Line::New("fifty")));
        let same = lines(&old, &old);
        assert_eq!(same, [Line::Skipped(100)]);
    }

    #[test]
    fn two_long_texts_are_not_compared_for_ever() {
        let old = numbered("a", 3000);
        let new = numbered("b", 3000);
        assert_eq!(lines(&old, &new).len(), 6000);
    }
}
