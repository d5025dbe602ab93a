//! Numbers as lower-case hexadecimal digits.

/// The last `N` digits of a number, zeros first.
#[must_use]
pub fn digits<const N: usize>(number: u128) -> [u8; N] {
    let mut digits = [b'0'; N];
    for (pair, byte) in digits.rchunks_mut(2).zip(number.to_le_bytes()) {
        let both = [byte >> 4, byte & 15].map(|half| half + if half < 10 { b'0' } else { b'a' - 10 });
        pair.iter_mut().rev().zip(both.into_iter().rev()).for_each(|(digit, half)| *digit = half);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn a_number_is_written_as_rust_formats_it() {
        for number in [0, 9, 10, 0xdead_beef, u128::MAX, u128::MAX - 1, 1 << 127] {
            assert_eq!(digits::<32>(number), *format!("{number:032x}").as_bytes());
        }
        assert_eq!(digits::<2>(0x1fe), *b"fe");
        assert_eq!(digits::<3>(0x51fe), *b"1fe");
    }
}
