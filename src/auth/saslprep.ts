/**
 * SASLprep (RFC 4013): brings user names and passwords that look the same to the same bytes. Called for every name and password
 * of SCRAM. Left out are its rules for mixed writing directions and unassigned code points: they guard readers, not comparisons.
 */

/** RFC 3454 table C.1.2 */
const otherSpaces = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/gu;
/** RFC 3454 table B.1, one by one: some are combining characters. */
const mappedToNothing = /\u00AD|\u034F|\u1806|[\u180B-\u180D]|\u200C|\u200D|\u2060|[\uFE00-\uFE0F]|\uFEFF/gu;
/** RFC 3454 tables C.2 to C.9. */
const prohibited = new RegExp(
  [
    '[\\p{Cc}\\p{Co}\\p{Cs}\\p{Noncharacter_Code_Point}]', // controls, private use, surrogates, non-characters
    '[\\u06DD\\u070F\\u180E\\u2028\\u2029\\u2060-\\u2063\\uFEFF\\u{1D173}-\\u{1D17A}]', // controls beyond ASCII
    '[\\uFFF9-\\uFFFD\\u2FF0-\\u2FFB]', // not plain text
    '[\\u0340\\u0341\\u200E\\u200F\\u202A-\\u202E\\u206A-\\u206F]', // changes of the display
    '[\\u{E0001}\\u{E0020}-\\u{E007F}]', // tags
  ].join('|'),
  'u',
);

/** Undefined for a text that is empty or has a prohibited character. */
export function saslprep(text: string): string | undefined {
  const prepared = text.replace(otherSpaces, ' ').replace(mappedToNothing, '').normalize('NFKC');
  return prepared === '' || prohibited.test(prepared) ? undefined : prepared;
}
