//! The protobuf wire format: a message as (field number, value) pairs.
//!
//! Source: protobuf encoding guide; groups are long gone and refused.

/// One encoded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// Strings, bytes, messages.
    Bytes(&'a [u8]),
    /// Fixed-width numbers, which no served kind uses.
    Fixed,
}

/// Iterates over the fields of a message; an error ends it.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("truncated number")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("number of more than 64 bits".to_owned())
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let count = usize::try_from(count).map_err(|error| error.to_string())?;
        let (head, rest) = self.0.split_at_checked(count).ok_or("truncated field")?;
        self.0 = rest;
        Ok(head)
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), String> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => self.take(8).map(|_| Wire::Fixed)?,
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Wire::Fixed)?,
            other => return Err(format!("unknown wire type {other}")),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u64, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let read = |bytes: &'static [u8]| Reader::new(bytes).collect::<Result<Vec<_>, _>>();
        assert_eq!(read(&[0x08, 0x96, 0x01]), Ok(vec![(1, Wire::Varint(150))]));
        assert_eq!(read(&[0x12, 2, b'h', b'i']), Ok(vec![(2, Wire::Bytes(b"hi"))]));
        assert!(read(&[0x12, 9, b'h']).is_err());
        assert!(read(&[0x08, 0x80]).is_err());
        assert!(read(&[0x0b]).is_err());
    }
}
