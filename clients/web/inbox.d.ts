// The types of <postrider-inbox>.

import type { Feed, InboxItem, PostriderClient, PushPlace } from "./client.js";
import type { Texts } from "./texts.js";

export { Feed, PostriderClient } from "./client.js";
export { Speaker } from "./texts.js";

export interface InboxEvents {
  /** One has arrived; a prevented one shows no toast. */
  "postrider-notification": CustomEvent<InboxItem>;
  /** The panel is about to open; may be prevented. */
  "postrider-open": CustomEvent<null>;
  /** One was clicked; a prevented one does not follow its `data.url`. It is read all the same. */
  "postrider-click": CustomEvent<InboxItem>;
  "postrider-unread": CustomEvent<{ unread: number }>;
}

export class PostriderInbox extends HTMLElement {
  server: string;
  token: string | null;
  getToken: (() => Promise<string>) | null;
  client: PostriderClient | null;
  locale: string;
  texts: Record<string, Partial<Texts>>;
  push: PushPlace | undefined;
  readonly unread: number;
  readonly isOpen: boolean;
  open(): void;
  close(): void;
  toggle(): void;
}

export function isUrgent(item: InboxItem): boolean;

declare global {
  interface HTMLElementTagNameMap {
    "postrider-inbox": PostriderInbox;
  }
  interface HTMLElementEventMap extends InboxEvents {}
}
