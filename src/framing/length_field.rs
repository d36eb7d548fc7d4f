//! `LengthField`: how a length is written on the wire.
//!
//! Knows numbers and their bytes, but nothing of what they are the length of.

/// How a length is written on the wire.
///
/// | field | bytes | 300 = `12c` hex, big endian | little endian |
/// |---|---|---|---|
/// | `U8` | 1 | (holds up to 255) | |
/// | `U16` | 2 | `01 2c` | `2c 01` |
/// | `U24` | 3 | `00 01 2c` | `2c 01 00` |
/// | `U32` | 4 | `00 00 01 2c` | `2c 01 00 00` |
/// | `U64` | 8 | `00 00 00 00 00 00 01 2c` | `2c 01 00 00 00 00 00 00` |
/// | `Varint` | 1 to 10 | `ac 02` | `ac 02` |
///
/// A varint is that of Protocol Buffers, unsigned LEB128: seven bits a byte, the lowest first,
/// the top bit set on all but the last byte. It has to be as short as its value allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LengthField {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Three bytes.
    U24,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// One to ten bytes, seven bits in each.
    Varint,
}

/// Which byte of a length of fixed size comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Big,
    Little,
}

/// What is wrong with a varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VarintError {
    /// It has more than 64 bits.
    Overflow,
    /// It has more bytes than its value takes.
    Overlong,
}

/// The bytes of one length field.
pub(super) struct Written {
    bytes: [u8; MAX_VARINT_LEN],
    len: usize,
}

impl LengthField {
    /// The value at the beginning of `bytes`, and how many bytes it takes; `None` if they are too
    /// few.
    #[inline]
    pub(super) fn read(
        self,
        order: ByteOrder,
        bytes: &[u8],
    ) -> Result<Option<(u64, usize)>, VarintError> {
        let value = match self {
            LengthField::U8 => bytes.first().map(|&byte| u64::from(byte)),
            LengthField::U16 => bytes.first_chunk().map(|&field| match order {
                ByteOrder::Big => u64::from(u16::from_be_bytes(field)),
                ByteOrder::Little => u64::from(u16::from_le_bytes(field)),
            }),
            LengthField::U24 => bytes.first_chunk().map(|&[a, b, c]| match order {
                ByteOrder::Big => u64::from(u32::from_be_bytes([0, a, b, c])),
                ByteOrder::Little => u64::from(u32::from_le_bytes([a, b, c, 0])),
            }),
            LengthField::U32 => bytes.first_chunk().map(|&field| match order {
                ByteOrder::Big => u64::from(u32::from_be_bytes(field)),
                ByteOrder::Little => u64::from(u32::from_le_bytes(field)),
            }),
            LengthField::U64 => bytes.first_chunk().map(|&field| match order {
                ByteOrder::Big => u64::from_be_bytes(field),
                ByteOrder::Little => u64::from_le_bytes(field),
            }),
            LengthField::Varint => return read_varint(bytes),
        };
        Ok(value.map(|value| (value, self.min_len())))
    }

    /// `value` as it stands on the wire. It is no larger than [`LengthField::max_value`].
    #[inline]
    pub(super) fn write(self, order: ByteOrder, value: u64) -> Written {
        debug_assert!(value <= self.max_value(), "the field holds the value");
        let mut bytes = [0; MAX_VARINT_LEN];
        let len = match (self, order) {
            (LengthField::Varint, _) => write_varint(value, &mut bytes),
            // Shifted so that the highest byte of the field is the first of the eight.
            (_, ByteOrder::Big) => {
                let len = self.min_len();
                bytes[..8].copy_from_slice(&(value << (64 - 8 * len)).to_be_bytes());
                len
            }
            (_, ByteOrder::Little) => {
                bytes[..8].copy_from_slice(&value.to_le_bytes());
                self.min_len()
            }
        };
        Written { bytes, len }
    }

    /// The largest value that the field holds.
    #[inline]
    pub(super) const fn max_value(self) -> u64 {
        match self {
            LengthField::Varint => u64::MAX,
            LengthField::U8
            | LengthField::U16
            | LengthField::U24
            | LengthField::U32
            | LengthField::U64 => u64::MAX >> (64 - 8 * self.min_len()),
        }
    }

    /// The fewest bytes that the field has.
    #[inline]
    pub(super) const fn min_len(self) -> usize {
        match self {
            LengthField::U8 | LengthField::Varint => 1,
            LengthField::U16 => 2,
            LengthField::U24 => 3,
            LengthField::U32 => 4,
            LengthField::U64 => 8,
        }
    }

    /// The most bytes that the field has.
    #[inline]
    pub(super) const fn max_len(self) -> usize {
        match self {
            LengthField::Varint => MAX_VARINT_LEN,
            LengthField::U8
            | LengthField::U16
            | LengthField::U24
            | LengthField::U32
            | LengthField::U64 => self.min_len(),
        }
    }
}

impl Written {
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
fn read_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, VarintError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(MAX_VARINT_LEN).enumerate() {
        // Nine bytes hold 63 bits: the tenth has one bit to give, and nothing follows it.
        if at == MAX_VARINT_LEN - 1 && byte > 1 {
            return Err(VarintError::Overflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            // One value written in two ways is how a filter and its server come to disagree.
            return if byte == 0 && at > 0 {
                Err(VarintError::Overlong)
            } else {
                Ok(Some((value, at + 1)))
            };
        }
    }
    Ok(None)
}

#[inline]
fn write_varint(mut value: u64, bytes: &mut [u8; MAX_VARINT_LEN]) -> usize {
    let mut len = 0;
    while value > 0x7f {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    len + 1
}

const MAX_VARINT_LEN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [LengthField; 6] = [
        LengthField::U8,
        LengthField::U16,
        LengthField::U24,
        LengthField::U32,
        LengthField::U64,
        LengthField::Varint,
    ];

    #[test]
    fn what_was_written_is_read_again_and_no_part_of_it_is_taken_for_a_whole() {
        for field in ALL {
            for order in [ByteOrder::Big, ByteOrder::Little] {
                for shift in 0..64 {
                    let value = 0xfedc_ba98_7654_3210 >> shift & field.max_value();
                    let written = field.write(order, value);
                    let bytes = written.as_bytes();
                    let len = bytes.len();
                    assert_eq!(field.read(order, bytes), Ok(Some((value, len))));
                    assert_eq!(field.read(order, &bytes[..len - 1]), Ok(None));
                    assert!((field.min_len()..=field.max_len()).contains(&len));
                }
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let written = |field: LengthField, order| field.write(order, 300).as_bytes().to_vec();
        assert_eq!(written(LengthField::U16, ByteOrder::Big), [1, 0x2c]);
        assert_eq!(written(LengthField::U24, ByteOrder::Big), [0, 1, 0x2c]);
        assert_eq!(written(LengthField::U24, ByteOrder::Little), [0x2c, 1, 0]);
        assert_eq!(
            written(LengthField::U32, ByteOrder::Little),
            [0x2c, 1, 0, 0]
        );
        assert_eq!(written(LengthField::Varint, ByteOrder::Big), [0xac, 2]);
    }

    #[test]
    fn the_largest_varint_has_ten_bytes_and_a_larger_one_overflows() {
        let read = |bytes: &[u8]| LengthField::Varint.read(ByteOrder::Big, bytes);
        let mut bytes = [0xff; 10];
        bytes[9] = 1;
        assert_eq!(read(&bytes), Ok(Some((u64::MAX, 10))));
        for last in [2, 0x7f, 0x80, 0x81, 0xff] {
            bytes[9] = last;
            assert_eq!(read(&bytes), Err(VarintError::Overflow));
        }
    }

    #[test]
    fn a_varint_that_could_be_shorter_is_refused() {
        let read = |bytes: &[u8]| LengthField::Varint.read(ByteOrder::Big, bytes);
        assert_eq!(read(&[0]), Ok(Some((0, 1))));
        for bytes in [&[0x80, 0][..], &[0xff, 0], &[0x80, 0x80, 0]] {
            assert_eq!(read(bytes), Err(VarintError::Overlong));
        }
    }
}
