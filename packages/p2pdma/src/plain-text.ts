/** C0 and C1 controls, DEL, and the marks that turn the direction of text round: none belongs into a name. */
const controls = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of an input as it may be shown on a terminal: what would steer the terminal becomes U+FFFD. */
export function plainText(text: string): string {
  return text.replace(controls, "\ufffd");
}
