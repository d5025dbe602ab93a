//! Tables and moments for people. Scripts have `--json`.

use crate::model::time::UnixSeconds;

/// Spaces between two columns.
const GAP: usize = 2;

/// Rows of cells in aligned columns, under a header.
#[derive(Debug)]
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table without rows.
    pub(super) fn new(header: &[&str]) -> Self {
        Self(vec![header.iter().map(|&name| name.to_owned()).collect()])
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The table, a line a row.
    pub(super) fn text(&self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let cells_of = |column| self.0.iter().filter_map(move |row| row.get(column));
        let widths: Vec<usize> = (0..columns)
            .map(|column| cells_of(column).map(|cell| cell.chars().count()).max().unwrap_or_default() + GAP)
            .collect();
        let line = |row: &Vec<String>| {
            let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.trim_end())
        };
        self.0.iter().map(line).collect()
    }
}

/// A text in which each control character is one sign: somebody else's words must not steer this terminal.
pub(super) fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// A moment in UTC, and how far away it is: `2026-11-25T12:40:00Z (3 min ago)`.
pub(super) fn moment(at: UnixSeconds, now: UnixSeconds) -> String {
    let away = match at.0.abs_diff(now.0) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds @ 172_800.. => format!("{} days", seconds / 86_400),
    };
    let away = if at > now { format!("in {away}") } else { format!("{away} ago") };
    format!("{} ({away})", written(at))
}

/// A moment in UTC alone, as RFC 3339 writes it.
pub(super) fn written(at: UnixSeconds) -> String {
    let at = i64::try_from(at.0).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// A moment, or the word for there being none.
pub(super) fn moment_or(absent: &str, at: Option<UnixSeconds>, now: UnixSeconds) -> String {
    at.map_or_else(|| absent.to_owned(), |at| moment(at, now))
}

/// A list in one cell.
pub(super) fn list(items: &[String]) -> String {
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}

/// Reads a moment as RFC 3339 writes it.
pub(super) fn read_moment(text: &str) -> Result<UnixSeconds, &'static str> {
    let at: Option<jiff::Timestamp> = text.parse().ok();
    let seconds = at.and_then(|at| u64::try_from(at.as_second()).ok());
    seconds.map(UnixSeconds).ok_or("want a moment such as 2026-12-24T18:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::Table;
    use super::moment;
    use super::moment_or;
    use super::read_moment;
    use crate::model::time::UnixSeconds;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "KEPT IN"]);
        table.row(["iris".to_owned(), "store".to_owned()]);
        table.row(["a-longer-name".to_owned(), "\u{1b}[2Jé".to_owned()]);
        assert_eq!(table.text(), "NAME           KEPT IN\niris           store\na-longer-name  \u{fffd}[2Jé\n");
    }

    #[test]
    fn a_moment_says_how_far_away_it_is() {
        let now = UnixSeconds(1_795_610_400);
        for (at, want) in [
            (now, "2026-11-25T12:40:00Z (0 s ago)"),
            (UnixSeconds(now.0 - 185), "2026-11-25T12:36:55Z (3 min ago)"),
            (now.plus(59), "2026-11-25T12:40:59Z (in 59 s)"),
            (now.plus(172_799), "2026-11-27T12:39:59Z (in 47 h)"),
            (now.plus(172_800), "2026-11-27T12:40:00Z (in 2 days)"),
        ] {
            assert_eq!(moment(at, now), want);
        }
        assert_eq!(moment_or("never", None, now), "never");
    }

    #[test]
    fn a_moment_is_read_as_it_is_written() {
        assert_eq!(read_moment("2026-11-25T12:40:00Z"), Ok(UnixSeconds(1_795_610_400)));
        for text in ["", "tomorrow", "2026-11-25", "1969-12-31T23:59:59Z"] {
            assert!(read_moment(text).is_err(), "{text:?}");
        }
    }
}
