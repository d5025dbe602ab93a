//! Numbers as lower-case hexadecimal digits.

/// The last `N` digits of a number, at most 32; zeros first.
#[must_use]
pub fn digits<const N: usize>(number: u128) -> [u8; N] {
    let mut all = [0; 32];
    for (eight, part) in all.as_chunks_mut::<8>().0.iter_mut().zip(number.to_be_bytes().as_chunks::<4>().0) {
        *eight = eight_digits(u32::from_be_bytes(*part)).to_be_bytes();
    }
    all.last_chunk().copied().unwrap_or([b'0'; N])
}

/// The digits of a number, one a byte, all eight worked out at once: identifiers are written several times a request.
const fn eight_digits(number: u32) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let spread = number as u64;
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (halves + 6 * ONES) >> 4 & ONES;
    halves + b'0' as u64 * ONES + letters * (b'a' - b'0' - 10) as u64
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
