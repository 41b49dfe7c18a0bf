/** Where a page of docs is for people who have the package and no checkout. @param page - its file name, such as `explorer.md` */
export function guide(page: string): string {
  return `https://github.com/peerbar/peerbar/blob/main/docs/${page}`;
}
