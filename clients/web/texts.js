// What the inbox says, in English, Russian and Arabic, with the plural forms of each.
//
// More languages, or other words: `inbox.texts = { de: { title: "Mitteilungen", … } }`. What is left
// out there is said in English.

const en = {
  title: "Notifications",
  bell: { one: "Notifications, {count} unread", other: "Notifications, {count} unread" },
  bellNone: "Notifications, none unread",
  markAllRead: "Mark all as read",
  settings: "Settings",
  back: "Back to the list",
  close: "Close",
  read: "Mark as read",
  unread: "Mark as unread",
  archive: "Archive",
  isUnread: "Unread",
  urgent: "Urgent",
  loading: "Loading…",
  empty: "Nothing here yet",
  emptyHint: "New notifications will appear here.",
  failed: "The notifications could not be loaded.",
  notDone: "That did not work. Try again.",
  retry: "Try again",
  more: "Load more",
  cut: "Older notifications are not shown here.",
  offline: "Offline. Trying to reconnect…",
  unauthorized: "Signed out. Sign in again to see new notifications.",
  arrived: "New notification: {title}",
  arrivedMany: { one: "{count} more notification", other: "{count} more notifications" },
  justNow: "just now",
  dismiss: "Dismiss",
  prefsEnabled: "Notify me at all",
  prefsChannels: "Over",
  prefsCategories: "About",
  prefsQuiet: "Quiet hours",
  prefsQuietOn: "Do not disturb",
  prefsFrom: "From",
  prefsTo: "To",
  prefsRegion: "Language and time",
  prefsLocale: "Language",
  prefsTimezone: "Time zone",
  prefsAutomatic: "Automatic",
  prefsPush: "In this browser, even when the page is closed",
  prefsPushDenied: "Notifications are blocked in the browser's settings.",
  prefsSaved: "Saved",
  prefsFailed: "Not saved. Try again.",
  channel_in_app: "This inbox",
  channel_email: "Email",
  channel_sms: "Text message",
  channel_voice: "Phone call",
  channel_push: "Mobile app",
  channel_web_push: "Browser",
  channel_slack: "Slack",
  channel_webhook: "Webhook",
  channel_pagerduty: "PagerDuty",
};

const ru = {
  title: "Уведомления",
  bell: {
    one: "Уведомления, {count} непрочитанное",
    few: "Уведомления, {count} непрочитанных",
    many: "Уведомления, {count} непрочитанных",
    other: "Уведомления, {count} непрочитанного",
  },
  bellNone: "Уведомления, непрочитанных нет",
  markAllRead: "Прочитать все",
  settings: "Настройки",
  back: "Назад к списку",
  close: "Закрыть",
  read: "Отметить как прочитанное",
  unread: "Отметить как непрочитанное",
  archive: "В архив",
  isUnread: "Не прочитано",
  urgent: "Срочно",
  loading: "Загрузка…",
  empty: "Пока ничего нет",
  emptyHint: "Новые уведомления появятся здесь.",
  failed: "Не удалось загрузить уведомления.",
  notDone: "Не получилось. Попробуйте ещё раз.",
  retry: "Повторить",
  more: "Показать ещё",
  cut: "Более старые уведомления здесь не показаны.",
  offline: "Нет связи. Подключаемся снова…",
  unauthorized: "Сеанс завершён. Войдите снова, чтобы видеть новые уведомления.",
  arrived: "Новое уведомление: {title}",
  arrivedMany: {
    one: "Ещё {count} уведомление",
    few: "Ещё {count} уведомления",
    many: "Ещё {count} уведомлений",
    other: "Ещё {count} уведомления",
  },
  justNow: "только что",
  dismiss: "Скрыть",
  prefsEnabled: "Присылать уведомления",
  prefsChannels: "Каналы",
  prefsCategories: "Темы",
  prefsQuiet: "Тихие часы",
  prefsQuietOn: "Не беспокоить",
  prefsFrom: "С",
  prefsTo: "До",
  prefsRegion: "Язык и время",
  prefsLocale: "Язык",
  prefsTimezone: "Часовой пояс",
  prefsAutomatic: "Автоматически",
  prefsPush: "В этом браузере, даже когда страница закрыта",
  prefsPushDenied: "Уведомления запрещены в настройках браузера.",
  prefsSaved: "Сохранено",
  prefsFailed: "Не сохранено. Попробуйте ещё раз.",
  channel_in_app: "Здесь, в списке",
  channel_email: "Электронная почта",
  channel_sms: "СМС",
  channel_voice: "Звонок",
  channel_push: "Мобильное приложение",
  channel_web_push: "Браузер",
  channel_slack: "Slack",
  channel_webhook: "Вебхук",
  channel_pagerduty: "PagerDuty",
};

const ar = {
  title: "الإشعارات",
  bell: {
    one: "الإشعارات، إشعار واحد غير مقروء",
    two: "الإشعارات، إشعاران غير مقروءين",
    few: "الإشعارات، {count} إشعارات غير مقروءة",
    many: "الإشعارات، {count} إشعارًا غير مقروء",
    other: "الإشعارات، {count} إشعار غير مقروء",
  },
  bellNone: "الإشعارات، لا يوجد غير مقروء",
  markAllRead: "تحديد الكل كمقروء",
  settings: "الإعدادات",
  back: "العودة إلى القائمة",
  close: "إغلاق",
  read: "تحديد كمقروء",
  unread: "تحديد كغير مقروء",
  archive: "أرشفة",
  isUnread: "غير مقروء",
  urgent: "عاجل",
  loading: "جارٍ التحميل…",
  empty: "لا شيء هنا بعد",
  emptyHint: "ستظهر الإشعارات الجديدة هنا.",
  failed: "تعذّر تحميل الإشعارات.",
  notDone: "لم ينجح ذلك. حاول مرة أخرى.",
  retry: "حاول مرة أخرى",
  more: "عرض المزيد",
  cut: "الإشعارات الأقدم لا تُعرض هنا.",
  offline: "غير متصل. تجري إعادة الاتصال…",
  unauthorized: "انتهت الجلسة. سجّل الدخول مجددًا لرؤية الإشعارات الجديدة.",
  arrived: "إشعار جديد: {title}",
  arrivedMany: {
    one: "إشعار آخر",
    two: "إشعاران آخران",
    few: "{count} إشعارات أخرى",
    many: "{count} إشعارًا آخر",
    other: "{count} إشعار آخر",
  },
  justNow: "الآن",
  dismiss: "إخفاء",
  prefsEnabled: "إرسال الإشعارات إليّ",
  prefsChannels: "القنوات",
  prefsCategories: "المواضيع",
  prefsQuiet: "ساعات الهدوء",
  prefsQuietOn: "عدم الإزعاج",
  prefsFrom: "من",
  prefsTo: "إلى",
  prefsRegion: "اللغة والوقت",
  prefsLocale: "اللغة",
  prefsTimezone: "المنطقة الزمنية",
  prefsAutomatic: "تلقائي",
  prefsPush: "في هذا المتصفح، حتى عند إغلاق الصفحة",
  prefsPushDenied: "الإشعارات محظورة في إعدادات المتصفح.",
  prefsSaved: "تم الحفظ",
  prefsFailed: "لم يُحفظ. حاول مرة أخرى.",
  channel_in_app: "صندوق الإشعارات هذا",
  channel_email: "البريد الإلكتروني",
  channel_sms: "رسالة نصية",
  channel_voice: "مكالمة هاتفية",
  channel_push: "تطبيق الجوال",
  channel_web_push: "المتصفح",
  channel_slack: "Slack",
  channel_webhook: "Webhook",
  channel_pagerduty: "PagerDuty",
};

export const TEXTS = { en, ru, ar };

const RIGHT_TO_LEFT = new Set(["ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"]);

/** Speaks one language: its words, its numbers and its times. */
export class Speaker {
  #words;
  #plurals;
  #numbers;
  #relative;
  #absolute;

  /** @param {string} locale a BCP 47 tag; what cannot be read or is not known is English */
  constructor(locale, more = {}) {
    const [tag] = supported(locale);
    this.locale = tag;
    const language = new Intl.Locale(tag).language;
    const all = { ...TEXTS, ...more };
    this.#words = { ...en, ...TEXTS[language], ...(all[tag] ?? all[language]) };
    const isKnown = tag in all || language in all;
    // Numbers in one language and words in another would be neither.
    const spoken = isKnown ? tag : "en";
    this.language = spoken;
    this.direction = RIGHT_TO_LEFT.has(new Intl.Locale(spoken).language) ? "rtl" : "ltr";
    this.#plurals = new Intl.PluralRules(spoken);
    this.#numbers = new Intl.NumberFormat(spoken);
    this.#relative = new Intl.RelativeTimeFormat(spoken, { numeric: "auto", style: "short" });
    this.#absolute = new Intl.DateTimeFormat(spoken, { dateStyle: "full", timeStyle: "short" });
  }

  /** A text by its key; `{name}` in it is replaced, and `count` chooses its plural form. */
  say(key, values = {}) {
    let text = this.#words[key] ?? key;
    if (typeof text === "object") {
      text = text[this.#plurals.select(values.count)] ?? text.other;
    }
    return text.replace(/\{(\w+)\}/g, (whole, name) => {
      const value = values[name];
      return typeof value === "number" ? this.number(value) : (value ?? whole);
    });
  }

  has(key) {
    return key in this.#words;
  }

  number(value) {
    return this.#numbers.format(value);
  }

  /** How long ago a moment was, in one word or two. */
  ago(moment, now = Date.now()) {
    const seconds = (now - new Date(moment).getTime()) / 1000;
    if (Number.isNaN(seconds)) return "";
    if (seconds < 45) return this.say("justNow");
    const [unit, size] = [
      ["minute", 60],
      ["hour", 3600],
      ["day", 86_400],
      ["week", 604_800],
      ["month", 2_629_800],
      ["year", 31_557_600],
    ].findLast(([, length], index) => index === 0 || seconds >= length);
    return this.#relative.format(-Math.max(1, Math.round(seconds / size)), unit);
  }

  /** A moment in full. */
  at(moment) {
    const date = new Date(moment);
    return Number.isNaN(date.getTime()) ? "" : this.#absolute.format(date);
  }
}

function supported(locale) {
  try {
    const found = Intl.DateTimeFormat.supportedLocalesOf([locale]);
    return found.length > 0 ? found : ["en"];
  } catch {
    return ["en"];
  }
}
