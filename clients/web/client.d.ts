// The types of the headless client.

/** A notification of the user's feed, however it was heard of. All texts are plain texts. */
export interface InboxItem {
  readonly id: string;
  /** Its number in the feed: one more for each notification of the user. */
  readonly seq: number;
  readonly title: string | null;
  readonly message: string;
  readonly data: Record<string, unknown> | null;
  readonly category: string | null;
  readonly priority: "low" | "normal" | "high" | "critical";
  readonly template: string | null;
  /** RFC 3339, in UTC. */
  readonly created_at: string;
  readonly seen_at: string | null;
  readonly read_at: string | null;
  readonly archived_at: string | null;
}

export interface Page {
  items: InboxItem[];
  /** For the next page; null after the last. */
  next_cursor: string | null;
}

export type ConnectionState =
  "idle" | "connecting" | "live" | "waiting" | "unauthorized" | "closed";

export interface ClientOptions {
  /** Where Postrider is, such as `https://notify.example.com`; else the page's own origin. */
  server?: string;
  /** A user token that lasts as long as the page. */
  token?: string;
  /** Asked for a user token whenever one is needed: at first, and when the last was refused. */
  getToken?: () => Promise<string>;
  /** The last notification that was seen, to go on after it. */
  lastSeq?: number;
  transport?: "auto" | "websocket" | "poll";
}

export interface PreferencesPatch {
  enabled?: boolean | null;
  locale?: string | null;
  timezone?: string | null;
  min_severity?: string | null;
  channels?: Record<string, { enabled?: boolean | null; address?: string | null } | null> | null;
  categories?: Record<string, Record<string, unknown> | null> | null;
  quiet_hours?: Record<string, unknown> | null;
}

export type Preferences = Required<Pick<PreferencesPatch, "enabled" | "locale" | "timezone">> &
  PreferencesPatch;

export interface PushPlace {
  /** The service worker's address, at the page's own origin. */
  worker?: string;
  scope?: string;
}

export type PushState = "unsupported" | "unavailable" | "denied" | "off" | "on";

/** What went wrong. */
export class PostriderError extends Error {
  /** The status of the answer; 0 where none came. */
  readonly status: number;
  readonly code?: string;
  /** The server's problem document (RFC 9457). */
  readonly problem?: Record<string, unknown>;
  readonly isUnauthorized: boolean;
}

export interface ClientEvents {
  notification: CustomEvent<InboxItem>;
  unread: CustomEvent<{ unread: number }>;
  /** These were read, here or elsewhere. Without ids something else was marked. */
  read: CustomEvent<{ ids: string[]; unread: number }>;
  /** What lies before `seq` is not told any more: fetch the list. */
  resync: CustomEvent<{ seq: number }>;
  /** The user has signed out, or another has signed in: nothing of theirs stays. */
  reset: CustomEvent<null>;
  hello: CustomEvent<{ seq: number; unread: number; isFirst: boolean }>;
  state: CustomEvent<{ state: ConnectionState; transport: "websocket" | "poll" | null }>;
  error: CustomEvent<PostriderError>;
}

export class PostriderClient extends EventTarget {
  constructor(options?: ClientOptions);
  readonly state: ConnectionState;
  readonly transport: "websocket" | "poll" | null;
  readonly seq: number | undefined;
  readonly unread: number;
  readonly server: string;
  /** Of the same user, the feed goes on; of another, or null, nothing of the last user stays. */
  set token(token: string | null);
  connect(): void;
  close(): void;
  list(options?: {
    cursor?: string | null;
    limit?: number;
    unread?: boolean;
    archived?: boolean;
  }): Promise<Page>;
  fetchUnread(): Promise<number>;
  /** Each answers how many are unread then. */
  markRead(id: string): Promise<number>;
  markUnread(id: string): Promise<number>;
  markSeen(id: string): Promise<number>;
  archive(id: string): Promise<number>;
  unarchive(id: string): Promise<number>;
  markAllRead(upToSeq?: number): Promise<number>;
  preferences(): Promise<Preferences>;
  updatePreferences(patch: PreferencesPatch): Promise<Preferences>;
  pushState(place?: PushPlace): Promise<PushState>;
  enablePush(place?: PushPlace): Promise<PushSubscription>;
  disablePush(place?: PushPlace): Promise<void>;
  addEventListener<K extends keyof ClientEvents>(
    type: K,
    listener: (event: ClientEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** The list behind an inbox, kept true by what a client hears. */
export class Feed extends EventTarget {
  constructor(client: PostriderClient, options?: { max?: number; pageItems?: number });
  readonly items: readonly InboxItem[];
  readonly status: "idle" | "loading" | "ready" | "failed";
  readonly error: PostriderError | null;
  readonly hasMore: boolean;
  readonly isCut: boolean;
  set isWatched(isWatched: boolean);
  load(): Promise<void>;
  loadMore(): Promise<void>;
  refresh(): Promise<void>;
  markRead(item: InboxItem): Promise<void>;
  markUnread(item: InboxItem): Promise<void>;
  markSeen(item: InboxItem): void;
  markAllRead(): Promise<void>;
  archive(item: InboxItem): Promise<void>;
  close(): void;
}

/** An address that may be followed: http or https. Else null. */
export function safeUrl(text: unknown, base?: string): string | null;
