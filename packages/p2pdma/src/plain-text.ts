/** Control characters, and the marks that turn the direction of text round: none belongs into a name. */
const controls = /[\p{Cc}\p{Bidi_Control}]/gu;

/** Text of an input as it may be shown on a terminal: what would steer the terminal becomes U+FFFD. */
export function plainText(text: string): string {
  return text.replace(controls, "\ufffd");
}
