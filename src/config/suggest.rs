//! Did you mean.

/// ` (did you mean …?)` with the nearest of the known names, or nothing where none is near.
///
/// Near is one slip of the fingers (a letter missing, doubled, wrong or swapped) for every three letters.
pub(super) fn did_you_mean<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let allowed = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(slips, _)| *slips <= allowed)
        .min()
        .map(|(_, name)| format!(" (did you mean {name:?}?)"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn only_a_near_name_is_offered() {
        let known = ["upstream", "upgrades", "auth", "match"];
        for (written, offered) in
            [("upsteam", "upstream"), ("autch", "auth"), ("mathc", "match"), ("upgrade", "upgrades")]
        {
            assert_eq!(did_you_mean(written, known), format!(" (did you mean {offered:?}?)"));
        }
        for written in ["", "x", "retries", "authentication"] {
            assert_eq!(did_you_mean(written, known), "", "{written:?}");
        }
    }
}
