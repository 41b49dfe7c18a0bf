/** Where {@link writeTemplate} leaves the template. */
export declare const templatePath: string;

/** Where {@link writeTemplate} leaves what is in the template of others, as a JSON list. */
export declare const noticesPath: string;

/** Bundles the page into one HTML template with places for its data. */
export declare function buildTemplate(): Promise<string>;

/** Builds the template and writes it, whole or not at all. Gives its path. */
export declare function writeTemplate(): Promise<string>;
